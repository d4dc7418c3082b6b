//! A party's side of the router: one [`Link`] per session.

use std::time::Duration;

use bytes::Bytes;
use quorate_core::{PartyIndex, SessionId};
use quorate_proto::v1::router_client::RouterClient as Client;
use quorate_proto::v1::router_request::Request as Kind;
use quorate_proto::v1::{Frame, Join, Outgoing, RouterRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::grpc::MESSAGE_BYTES;

/// Frames that wait for the connection to the router: what a session of 16 parties sends in a round, several times
/// over. What finds no room is sent again by the session.
const WAITING: usize = 256;

/// How long the router may take to attach a party.
const ATTACH: Duration = Duration::from_secs(5);

/// A connection to the router. Clones share it.
#[derive(Clone)]
pub struct RouterClient {
    client: Client<Channel>,
}

/// A party's hold on one session. Dropping it lets go.
pub struct Link {
    sender: Sender,
    frames: Streaming<Frame>,
}

/// The sending half of a [`Link`]; of use for as long as the link is held.
#[derive(Clone)]
pub struct Sender(mpsc::Sender<RouterRequest>);

impl RouterClient {
    /// Over this channel.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        let client = Client::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES);
        Self { client }
    }

    /// Attaches a party to a session. Frames of it are kept for `time_to_live` at most.
    ///
    /// # Errors
    /// What the router says: it has no room, or it does not answer.
    pub async fn attach(
        &self,
        session: SessionId,
        party: PartyIndex,
        time_to_live: Duration,
    ) -> Result<Link, Status> {
        let (sender, requests) = mpsc::channel(WAITING);
        let join = Join {
            session: Bytes::copy_from_slice(session.as_bytes()),
            party: party.number().into(),
            time_to_live_ms: u64::try_from(time_to_live.as_millis()).unwrap_or(u64::MAX),
        };
        // There is room: it is the first.
        let _ = sender.try_send(RouterRequest { request: Some(Kind::Join(join)) });
        let mut client = self.client.clone();
        let attaching = client.attach(ReceiverStream::new(requests));
        let attached = tokio::time::timeout(ATTACH, attaching).await;
        let attached = attached.map_err(|_| Status::deadline_exceeded("the router does not answer"))??;
        Ok(Link { sender: Sender(sender), frames: attached.into_inner() })
    }
}

impl Link {
    /// The sending half.
    #[must_use]
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// The next frame; never again one, when the router is gone. May be cancelled without losing one.
    pub async fn receive(&mut self) -> Bytes {
        match self.frames.message().await {
            Ok(Some(frame)) => frame.frame,
            // The session goes on waiting until its deadline.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

impl Sender {
    /// Sends a frame to a party; false if there was no room for it.
    pub fn send(&self, to: PartyIndex, frame: Vec<u8>) -> bool {
        let outgoing = Outgoing { to: to.number().into(), frame: frame.into() };
        self.0.try_send(RouterRequest { request: Some(Kind::Outgoing(outgoing)) }).is_ok()
    }
}
