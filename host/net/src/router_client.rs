//! A party's side of the router: one [`RouterSession`] per session.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use quorate_core::identity::Signature;
use quorate_core::time::whole_millis;
use quorate_core::{PartyIndex, SessionId, Threshold};
use quorate_proto::convert;
use quorate_proto::v1::router_client::RouterClient as Client;
use quorate_proto::v1::router_request::Request as RequestKind;
use quorate_proto::v1::{Frame, Join, Leave, Outgoing, RouterRequest};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::grpc::MAX_GRPC_MESSAGE_BYTES;
use crate::join_token::Challenge;
use crate::replicas::Replicas;

/// Frames that wait for the connection to the router: what a session of 16 parties sends in a round, several times
/// over. What finds no room is sent again by the session.
const MAX_WAITING_FRAMES: usize = 256;

/// How long a router may take to attach a party.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait before a stream that has broken is made again, at first and at most.
const RECONNECT_DELAYS: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// The messages of a router to a party of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouterEvent {
    /// A frame of another party.
    Frame(Bytes),
    /// The connection of another party has broken. It may come back.
    PeerDisconnected(PartyIndex),
    /// Another party is connected, perhaps again.
    PeerReconnected(PartyIndex),
}

impl From<RouterEvent> for Frame {
    fn from(event: RouterEvent) -> Self {
        match event {
            RouterEvent::Frame(frame) => Self { frame, ..Self::default() },
            RouterEvent::PeerDisconnected(party) => Self { gone: party.number().into(), ..Self::default() },
            RouterEvent::PeerReconnected(party) => Self { back: party.number().into(), ..Self::default() },
        }
    }
}

impl From<Frame> for RouterEvent {
    fn from(frame: Frame) -> Self {
        match (session_party_index(frame.gone), session_party_index(frame.back)) {
            (Some(gone), _) => Self::PeerDisconnected(gone),
            (None, Some(back)) => Self::PeerReconnected(back),
            (None, None) => Self::Frame(frame.frame),
        }
    }
}

/// The party index in a message of the router's service, where 0 stands for none.
#[must_use]
pub fn session_party_index(index: u32) -> Option<PartyIndex> {
    convert::party_index(index).ok().filter(|index| index.number() <= Threshold::MAX_PARTIES)
}

/// The way to the routers. Clones share it.
#[derive(Clone)]
pub struct RouterClient {
    routers: Replicas,
}

/// A party's hold on one session. Dropping it lets go. When the connection breaks, it is made again, at the same
/// router or at another, until the session's time is over.
pub struct RouterSession {
    routers: Replicas,
    joining: Joining,
    until: Instant,
    sender: FrameSender,
    state: ConnectionState,
}

enum ConnectionState {
    Attached(Box<Streaming<Frame>>),
    Again(Pin<Box<dyn Future<Output = Option<Stream>> + Send>>),
    Over,
}

/// Signs the challenge of a router with the party's identity key.
pub type AnswerChallenge = Arc<dyn Fn(&Challenge) -> Signature + Send + Sync>;

/// What a party says to be let into its session.
#[derive(Clone)]
struct Joining {
    /// Without the answer to a challenge.
    join: Join,
    answer: AnswerChallenge,
    /// Once it is cancelled nothing leaves any more.
    closed: CancellationToken,
}

/// Both directions of a stream.
struct Stream {
    requests: mpsc::Sender<RouterRequest>,
    frames: Streaming<Frame>,
}

/// The sending half of a [`RouterSession`]; of use for as long as the session is attached.
#[derive(Clone)]
pub struct FrameSender(Arc<Mutex<mpsc::Sender<RouterRequest>>>);

impl RouterClient {
    /// To any of these routers.
    #[must_use]
    pub fn new(routers: impl Into<Replicas>) -> Self {
        Self { routers: routers.into() }
    }

    /// Attaches a party to a session, with the token that came with the plan and its answer to the router's challenge. Frames of
    /// it are kept for `time_to_live` at most. Once `closed` is cancelled nothing leaves any more, not even what waits to be
    /// sent.
    ///
    /// # Errors
    /// The reason of the router: it has no room, does not accept the token, or does not answer.
    pub async fn attach(
        &self,
        (session, party): (SessionId, PartyIndex),
        (token, answer): (&str, AnswerChallenge),
        time_to_live: Duration,
        closed: CancellationToken,
    ) -> Result<RouterSession, Status> {
        let join = Join {
            session: Bytes::copy_from_slice(session.as_bytes()),
            party: party.number().into(),
            time_to_live_ms: whole_millis(time_to_live),
            token: token.to_owned(),
            rejoined: false,
            answer: Bytes::new(),
        };
        let until = Instant::now() + time_to_live;
        let joining = Joining { join, answer, closed };
        let Stream { requests, frames } = attach(&self.routers, &joining).await?;
        let sender = FrameSender(Arc::new(Mutex::new(requests)));
        Ok(RouterSession {
            routers: self.routers.clone(),
            joining,
            until,
            sender,
            state: ConnectionState::Attached(Box::new(frames)),
        })
    }
}

/// Tries every router once, beginning with the one where the session's parties meet.
async fn attach(routers: &Replicas, joining: &Joining) -> Result<Stream, Status> {
    let meeting = joining
        .join
        .session
        .iter()
        .fold(0_usize, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let attaching = routers.call_from(meeting, ATTACH_TIMEOUT, |channel: Channel| {
        let (requests, stream) = mpsc::channel(MAX_WAITING_FRAMES);
        let joining = joining.clone();
        let closed = joining.closed.clone();
        let stream = ReceiverStream::new(stream).take_while(move |_| !closed.is_cancelled());
        let client = Client::new(channel)
            .max_decoding_message_size(MAX_GRPC_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_GRPC_MESSAGE_BYTES);
        async move {
            let mut frames = { client }.attach(stream).await?.into_inner();
            let Some(challenge) = Challenge::from_bytes(&first(&mut frames).await?.challenge) else {
                return Err(Status::unavailable(
                    "the router gives no challenge: it may be of another version",
                ));
            };
            let answer = Bytes::copy_from_slice(&(joining.answer)(&challenge).0);
            let join = Join { answer, ..joining.join };
            // There is room: it is the first.
            let _ = requests.try_send(RouterRequest { request: Some(RequestKind::Join(join)) });
            if !first(&mut frames).await?.attached {
                return Err(Status::unavailable("the router does not say that this party is attached"));
            }
            Ok(Stream { requests, frames })
        }
    });
    attaching.await
}

/// The next frame of a router that has more to say.
async fn first(frames: &mut Streaming<Frame>) -> Result<Frame, Status> {
    frames.message().await?.ok_or_else(|| Status::unavailable("the router has ended the stream"))
}

/// Tries until the session's time is over, or until a router says that there is no use in it.
async fn attach_again(routers: Replicas, mut joining: Joining, until: Instant) -> Option<Stream> {
    joining.join.rejoined = true;
    let [mut wait, longest] = RECONNECT_DELAYS;
    while Instant::now() < until {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(longest);
        match attach(&routers, &joining).await {
            Ok(stream) => return Some(stream),
            Err(status) if matches!(status.code(), Code::InvalidArgument | Code::PermissionDenied) => {
                tracing::warn!(%status, "router refused to let this party back in");
                return None;
            }
            Err(status) => tracing::debug!(%status, "no router lets this party back in yet"),
        }
    }
    None
}

impl RouterSession {
    /// The sending half.
    #[must_use]
    pub fn sender(&self) -> FrameSender {
        self.sender.clone()
    }

    /// Returns the next event; waits forever once the session's time is over. Cancellation loses nothing.
    pub async fn receive(&mut self) -> RouterEvent {
        loop {
            self.state = match &mut self.state {
                ConnectionState::Attached(frames) => {
                    if let Ok(Some(frame)) = frames.message().await {
                        return frame.into();
                    }
                    tracing::debug!("the stream to the router has broken");
                    let again = attach_again(self.routers.clone(), self.joining.clone(), self.until);
                    ConnectionState::Again(Box::pin(again))
                }
                ConnectionState::Again(attaching) => match attaching.as_mut().await {
                    Some(Stream { requests, frames }) => {
                        *self.sender.lock() = requests;
                        ConnectionState::Attached(Box::new(frames))
                    }
                    None => ConnectionState::Over,
                },
                // The session goes on waiting until its deadline.
                ConnectionState::Over => std::future::pending().await,
            }
        }
    }
}

impl Drop for RouterSession {
    fn drop(&mut self) {
        // If it does not arrive, the router keeps what comes until the session's time is over.
        let _ = self.sender.lock().try_send(RouterRequest { request: Some(RequestKind::Leave(Leave {})) });
    }
}

impl FrameSender {
    fn lock(&self) -> MutexGuard<'_, mpsc::Sender<RouterRequest>> {
        self.0.lock()
    }

    /// Sends a frame to a party; false if there was no room for it.
    pub fn send(&self, to: PartyIndex, frame: Vec<u8>) -> bool {
        let outgoing = Outgoing { to: to.number().into(), frame: frame.into() };
        self.lock().try_send(RouterRequest { request: Some(RequestKind::Outgoing(outgoing)) }).is_ok()
    }
}
