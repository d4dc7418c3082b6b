//! The router over WebSockets: the same messages, tokens and limits as over gRPC.

use std::pin::Pin;
use std::time::Duration;

use futures::{SinkExt, Stream, StreamExt};
use quorate_core::identity::SecretKey;
use quorate_core::{PartyIndex, SessionId, UnixSeconds};
use quorate_kit::random32;
use quorate_net::clock::{Clock, SystemClock};
use quorate_net::join_token::{Challenge, JoinKey, Joiner};
use quorate_net::server::{Callers, serve};
use quorate_proto::v1::router_client::RouterClient;
use quorate_proto::v1::router_request::Request as RequestKind;
use quorate_proto::v1::router_server::{Router, RouterServer};
use quorate_proto::v1::{Frame, Join, Leave, Outgoing, RouterRequest};
use quorate_tests::fleet::{Fleet, FleetSetup, Member};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Response, Status, Streaming};

use quorate_tests::verification::assert_signed_by;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(address: std::net::SocketAddr) -> Socket {
    connect_async(format!("ws://{address}/ws")).await.unwrap().0
}

async fn send(socket: &mut Socket, request: RequestKind) {
    let bytes = prost::Message::encode_to_vec(&RouterRequest { request: Some(request) });
    socket.send(Message::Binary(bytes.into())).await.unwrap();
}

/// The next message of the router, or why it closed the socket.
async fn next(socket: &mut Socket) -> Result<Frame, String> {
    let wait = tokio::time::timeout(Duration::from_secs(15), socket.next());
    match wait.await.expect("the router says nothing") {
        Some(Ok(Message::Binary(bytes))) => Ok(prost::Message::decode(bytes).unwrap()),
        Some(Ok(Message::Close(Some(frame)))) => Err(frame.reason.to_string()),
        other => Err(format!("{other:?}")),
    }
}

/// The identity key of a party.
fn identity(party: u16) -> SecretKey {
    SecretKey::from_seed(&[u8::try_from(party).unwrap(); 32])
}

/// Without the answer to a challenge.
fn join(key: &JoinKey, session: SessionId, party: u16, expires: UnixSeconds) -> Join {
    let index = PartyIndex::try_from(party).unwrap();
    let joiner = Joiner { identity: &identity(party).public(), party: index, parties: 3 };
    Join {
        session: session.as_bytes().to_vec().into(),
        party: party.into(),
        time_to_live_ms: 60_000,
        token: key.token(session, joiner, expires),
        rejoined: false,
        answer: vec![].into(),
    }
}

/// The same with the answer of this key to a router's challenge.
fn answered(join: Join, challenge: &[u8], key: &SecretKey) -> RequestKind {
    let challenge = Challenge::from_bytes(challenge).unwrap();
    let session = SessionId(join.session.as_ref().try_into().unwrap());
    let party = PartyIndex::try_from(u16::try_from(join.party).unwrap()).unwrap();
    let answer = challenge.answer(session, party, key).0.to_vec().into();
    RequestKind::Join(Join { answer, ..join })
}

/// Asks to be let in, with the key of the party that is named.
async fn ask(socket: &mut Socket, join: Join) {
    let challenge = next(socket).await.unwrap().challenge;
    let key = identity(u16::try_from(join.party).unwrap());
    send(socket, answered(join, &challenge, &key)).await;
}

/// Is let in.
async fn enter(socket: &mut Socket, join: Join) {
    ask(socket, join).await;
    assert!(next(socket).await.unwrap().attached);
}

fn outgoing(to: u32, frame: &'static [u8]) -> RequestKind {
    RequestKind::Outgoing(Outgoing { to, frame: frame.into() })
}

#[tokio::test]
async fn routers_pass_frames_on_to_each_other_and_let_in_only_who_has_a_token() {
    let setup = FleetSetup { accounts: 0, coordinators: 0, parties: 0, ..FleetSetup::default() };
    let fleet = Fleet::start(setup).await;
    let key = JoinKey::new(fleet.jwt_secret()).unwrap();
    let (session, later) = (SessionId(random32()), SystemClock.seconds() + Duration::from_secs(60));
    let routers = [0, 1].map(|index| fleet.address(Member::Router(index)));

    let stranger = JoinKey::new(&"x".repeat(JoinKey::MIN_SECRET_BYTES)).unwrap();
    let other_session = Join { session: vec![9; 32].into(), ..join(&key, session, 1, later) };
    let other_party = Join { party: 2, ..join(&key, session, 1, later) };
    for (join, reason) in [
        (join(&stranger, session, 1, later), "not genuine"),
        (join(&key, session, 1, SystemClock.seconds() - Duration::from_secs(600)), "expired"),
        (other_session, "another session"),
        (other_party, "another party"),
    ] {
        let mut socket = open(routers[0]).await;
        ask(&mut socket, join).await;
        let refused = next(&mut socket).await.unwrap_err();
        assert!(refused.contains(reason), "{refused}");
    }
    // A token that somebody has read on its way: with the key of another party, and with the answer to an earlier challenge.
    let mut socket = open(routers[0]).await;
    let earlier = next(&mut socket).await.unwrap().challenge;
    send(&mut socket, answered(join(&key, session, 1, later), &earlier, &identity(2))).await;
    assert!(next(&mut socket).await.unwrap_err().contains("challenge is not signed"));
    let mut socket = open(routers[0]).await;
    assert_ne!(next(&mut socket).await.unwrap().challenge, earlier);
    send(&mut socket, answered(join(&key, session, 1, later), &earlier, &identity(1))).await;
    assert!(next(&mut socket).await.unwrap_err().contains("challenge is not signed"));
    let mut socket = open(routers[0]).await;
    next(&mut socket).await.unwrap();
    socket.send(Message::Text("hello".into())).await.unwrap();
    assert!(next(&mut socket).await.unwrap_err().contains("binary"));

    // Until the routers have heard of each other, only frames of one router arrive.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mut one = open(routers[0]).await;
    enter(&mut one, join(&key, session, 1, later)).await;
    let mut two = open(routers[1]).await;
    enter(&mut two, join(&key, session, 2, later)).await;
    send(&mut one, outgoing(2, b"across")).await;
    assert_eq!(next(&mut two).await.unwrap().frame[..], *b"across");
    send(&mut two, outgoing(1, b"and back")).await;
    assert_eq!(next(&mut one).await.unwrap().frame[..], *b"and back");

    // A party that comes back, elsewhere, gets what came in between or is told to the others.
    drop(two);
    let mut two = open(routers[0]).await;
    enter(&mut two, Join { rejoined: true, ..join(&key, session, 2, later) }).await;
    assert_eq!(next(&mut one).await.unwrap().back, 2);
    send(&mut one, outgoing(2, b"again")).await;
    let mut got = next(&mut two).await.unwrap();
    while got.frame[..] != *b"again" {
        // What was sent while it was at the other router has waited here too.
        got = next(&mut two).await.unwrap();
    }

    // A party that its session does not have.
    send(&mut one, outgoing(9, b"to nobody")).await;
    assert!(next(&mut one).await.unwrap_err().contains("not addressed"));
    send(&mut two, RequestKind::Leave(Leave {})).await;
    let mut last = next(&mut two).await;
    while last.is_ok() {
        // What was said of the others comes before.
        last = next(&mut two).await;
    }
    assert_eq!(last, Err(String::new()));

    let mut large = open(routers[0]).await;
    enter(&mut large, join(&key, session, 3, later)).await;
    let frame = vec![0; 5 << 20].into();
    let bytes = RouterRequest { request: Some(RequestKind::Outgoing(Outgoing { to: 1, frame })) };
    let _ = large.send(Message::Binary(prost::Message::encode_to_vec(&bytes).into())).await;
    assert!(next(&mut large).await.unwrap_err().contains("at most 4 MiB"));
    let mut malformed = open(routers[0]).await;
    next(&mut malformed).await.unwrap();
    malformed.send(Message::Binary(vec![0xff; 10].into())).await.unwrap();
    assert!(next(&mut malformed).await.unwrap_err().contains("RouterRequest"));

    // Over gRPC the same is said by statuses.
    let to_router = Endpoint::new(format!("http://{}", routers[0])).unwrap().connect_lazy();
    for (wrong, code) in [
        (outgoing(9, b"to nobody"), Code::InvalidArgument),
        (RequestKind::Join(join(&key, session, 3, later)), Code::InvalidArgument),
        (RequestKind::Outgoing(Outgoing { to: 1, frame: vec![0; 5 << 20].into() }), Code::OutOfRange),
    ] {
        let (requests, said) = tokio::sync::mpsc::channel(2);
        let stream = ReceiverStream::new(said);
        let mut frames = RouterClient::new(to_router.clone()).attach(stream).await.unwrap().into_inner();
        let challenge = frames.message().await.unwrap().unwrap().challenge;
        for request in [answered(join(&key, session, 3, later), &challenge, &identity(3)), wrong] {
            requests.send(RouterRequest { request: Some(request) }).await.unwrap();
        }
        let ended = loop {
            match frames.message().await {
                Ok(Some(_)) => {}
                ended => break ended,
            }
        };
        assert_eq!(ended.unwrap_err().code(), code);
    }
}

/// A router to its party, a caller with a WebSocket to the real one.
struct Bridge(std::net::SocketAddr);

#[tonic::async_trait]
impl Router for Bridge {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<RouterRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut incoming = request.into_inner();
        let (mut sink, stream) = open(self.0).await.split();
        tokio::spawn(async move {
            while let Ok(Some(request)) = incoming.message().await {
                let bytes = prost::Message::encode_to_vec(&request);
                if sink.send(Message::Binary(bytes.into())).await.is_err() {
                    return;
                }
            }
        });
        let frames = stream.filter_map(async |message| match message {
            Ok(Message::Binary(bytes)) => Some(Ok(prost::Message::decode(bytes).unwrap())),
            _ => None,
        });
        Ok(Response::new(Box::pin(frames)))
    }
}

#[tokio::test]
async fn a_party_that_is_attached_by_websocket_makes_keys_and_signs() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bridge = format!("http://{}", listener.local_addr().unwrap());
    let setup = FleetSetup {
        accounts: 1,
        coordinators: 1,
        routers: 1,
        own_settings: vec![(Member::Party(1), "QUORATE_ROUTERS".into(), bridge)],
        ..FleetSetup::default()
    };
    let fleet = Fleet::prepare(setup).await;
    let server = RouterServer::new(Bridge(fleet.address(Member::Router(0))));
    let routes = tonic::service::Routes::new(server).prepare().into_axum_router();
    tokio::spawn(serve(listener, routes, Callers::Roles, CancellationToken::new(), Duration::ZERO));
    let fleet = fleet.go().await;
    let (id, key) = fleet.create(0).await;
    for signers in [[1, 2], [2, 3]] {
        let body = json!({ "message": hex::encode([6; 32]), "signers": signers });
        let signed = fleet.caller(0).post(&format!("/api/v1/accounts/{id}/sign"), &body).await;
        assert_eq!(signed.status, 200, "{signed:?}");
        assert_signed_by(&signed, [6; 32], &key);
    }
}
