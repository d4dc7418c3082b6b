//! Strangers at the ports: whoever has no key, token or signature holds little, for a short time, and stops nobody.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use quorate_tests::fleet::{Fleet, FleetSetup, Member};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Where the strangers come from. The rest of the deployment is at another address.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));

/// More connections than ended a service of 512 MiB before there were bounds.
const CONNECTIONS: u32 = 200;

/// As many as a stranger may have under way on one connection, and as many as a router allows to others.
const STREAMS: [u32; 2] = [512, 2_048];

/// How much memory all of them may take together, in bytes.
const MAX_GROWTH: u64 = 384 << 20;

async fn connect(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((STRANGER, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// A frame of HTTP/2 (RFC 9113).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The begin of a connection, and the headers of calls that are never made: 15 bytes for each but the first, because HPACK
/// (RFC 7541) remembers them.
fn calls(path: &str, count: u32) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    let literal = |index: u8, value: &str| {
        [&[0x40 | index, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat()
    };
    // :method POST, :scheme http, :path, content-type
    let first = [vec![0x83, 0x86], literal(4, path), literal(31, "application/grpc")].concat();
    let later = [0x83, 0x86, 0xbf, 0xbe];
    for number in 0..count {
        let headers = if number == 0 { &first[..] } else { &later };
        bytes.extend(frame(1, 4, 2 * number + 1, headers));
    }
    bytes
}

/// The begin of a connection, and calls that begin messages of 4 MiB and never end them.
fn long_messages(path: &str, count: u32) -> Vec<u8> {
    let mut bytes = calls(path, count);
    // gRPC: not compressed, 4 MiB less what the frames below have.
    let mut message = vec![0, 0, 0x3f, 0xff, 0xff];
    message.resize(16 << 10, 7);
    for number in 0..count {
        for part in 0..4 {
            // Only the first has the prefix.
            let payload = if part == 0 { message.clone() } else { vec![7; 16 << 10] };
            bytes.extend(frame(0, 0, 2 * number + 1, &payload));
        }
    }
    bytes
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn strangers_hold_little_memory_and_an_honest_request_is_answered_meanwhile() {
    let setup = FleetSetup { accounts: 1, coordinators: 1, routers: 1, ..FleetSetup::default() };
    let fleet = Fleet::start(setup).await;
    let (id, key) = fleet.create(0).await;
    for (member, path) in [
        (Member::Router(0), "/quorate.v1.Router/Attach"),
        (Member::Coordinator(0), "/quorate.v1.Coordinator/Submit"),
        (Member::Account(0), "/api/v1/accounts"),
    ] {
        let [few, many] = STREAMS.map(|count| calls(path, count));
        let (pid, sent) = (fleet.pid(member), [few, many, long_messages(path, 128)]);
        let before = resident(pid);
        let mut held = Vec::new();
        for number in 0..CONNECTIONS {
            let mut stream = connect(fleet.address(member)).await;
            // It may be closed for another one meanwhile.
            let _ =
                tokio::time::timeout(Duration::from_secs(2), stream.write_all(&sent[number as usize % 3]))
                    .await;
            held.push(stream);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let grown = resident(pid).saturating_sub(before);
        assert!(grown < MAX_GROWTH, "{member:?} has grown by {grown} bytes");
        fleet.sign(0, &id, &key, [7; 32]).await;
        let mut open = 0;
        for stream in &mut held {
            let mut bytes = vec![0; 1 << 20];
            let ended = async {
                while let Ok(read) = stream.read(&mut bytes).await
                    && read > 0
                {}
            };
            open += u32::from(tokio::time::timeout(Duration::from_millis(20), ended).await.is_err());
        }
        assert!(open <= 64, "{member:?}: {open} connections of one address are open");
    }
}
