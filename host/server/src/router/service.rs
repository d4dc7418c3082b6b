//! The router's service: one stream per session and party, over gRPC or a WebSocket, with the same messages.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::any;
use bytes::Bytes;
use futures::{Stream, stream};
use quorate_core::{PartyIndex, SessionId, Threshold};
use quorate_proto::v1::router_request::Request as Kind;
use quorate_proto::v1::router_server::{Router as Service, RouterServer};
use quorate_proto::v1::{Frame, Join, RouterRequest};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};

use super::token::Ticket;
use super::{Attached, Exchange, Hub, JoinKey, Parcel, Sent, websocket};
use crate::clock::Clock;
use crate::grpc::{self, MESSAGE_BYTES};

/// How long a party may take to say which session its stream is for.
pub(super) const JOIN: Duration = Duration::from_secs(10);

/// How long frames are kept for parties that are not attached, at most: no order lives longer.
pub(super) const LONGEST: Duration = Duration::from_secs(600);

/// How often, and after how long each time, room is looked for in the buffer of a party that does not keep up. What finds
/// none then is lost, and sent again.
const ROOM: (u32, Duration) = (20, Duration::from_millis(20));

/// What a party is told that says something else.
pub(super) const NO_MESSAGE: &str = "that is no message to another party of the session";

/// What a router is given.
pub struct RouterSetup {
    /// Its buffers.
    pub hub: Hub,
    /// What join tokens are checked with.
    pub key: JoinKey,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The way to the other routers, if there may be any.
    pub exchange: Option<Arc<Exchange>>,
}

/// A router. Clones share it.
#[derive(Clone)]
pub(super) struct Router(Arc<RouterSetup>);

/// The service, to be served: gRPC, and `/ws`.
pub fn service(setup: RouterSetup) -> axum::Router {
    let router = Router(Arc::new(setup));
    let server = RouterServer::new(router.clone())
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    let sockets = axum::Router::new().route("/ws", any(websocket::upgrade)).with_state(router);
    grpc::described(tonic::service::Routes::new(server), grpc::ANSWER).merge(sockets)
}

/// A party that has joined a session.
pub(super) struct Joined {
    router: Router,
    session: SessionId,
    me: PartyIndex,
    /// The highest index.
    parties: u16,
    time_to_live: Duration,
}

pub(super) fn party(index: u32) -> Option<PartyIndex> {
    let index = u16::try_from(index).ok().filter(|&index| index <= Threshold::MAX_PARTIES)?;
    PartyIndex::try_from(index).ok()
}

impl Router {
    /// Lets a party into a session, if its token does.
    pub(super) fn join(&self, first: Option<Kind>) -> Result<(Joined, Attached), Status> {
        let Some(Kind::Join(Join { session, party: me, time_to_live_ms, token, again })) = first else {
            return Err(Status::invalid_argument("the first message names the session"));
        };
        let session = session.as_ref().try_into().map(SessionId);
        let session = session.map_err(|_| Status::invalid_argument("a session id is 32 bytes long"))?;
        let me = party(me).ok_or_else(|| Status::invalid_argument("that is no party index"))?;
        let checked = self.0.key.check(&token, session, me, self.0.clock.seconds());
        let Ticket { parties, left } =
            checked.map_err(|error| Status::permission_denied(error.to_string()))?;
        let time_to_live = Duration::from_millis(time_to_live_ms).min(LONGEST).min(left);
        let attached = self.0.hub.attach(session, me, time_to_live);
        let attached = attached.ok_or_else(|| Status::resource_exhausted("no room for another session"))?;
        if let Some(exchange) = self.0.exchange.as_ref().filter(|_| again) {
            exchange.is_back(session, me);
        }
        Ok((Joined { router: self.clone(), session, me, parties, time_to_live }, attached))
    }
}

/// What became of a party's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// It was the party's last word.
    Left,
    /// It makes no sense after joining.
    No,
}

impl Joined {
    /// Carries out what a party says after it has joined.
    pub(super) async fn take(&self, request: Option<Kind>) -> Taken {
        let Router(setup) = &self.router;
        match request {
            Some(Kind::Outgoing(outgoing)) => {
                let Some(to) = party(outgoing.to).filter(|to| to.number() <= self.parties) else {
                    return Taken::No;
                };
                match self.send(to, &outgoing.frame).await {
                    Sent::Delivered => {}
                    Sent::Waits => {
                        if let Some(exchange) = &setup.exchange {
                            exchange.forward(self.session, to, outgoing.frame, self.time_to_live);
                        }
                    }
                    Sent::Lost => {
                        tracing::debug!(session = %self.session, %to, "no room for a frame; its sender sends it again")
                    }
                }
                Taken::Yes
            }
            Some(Kind::Leave(_)) => {
                setup.hub.leave(self.session, self.me);
                Taken::Left
            }
            Some(Kind::Join(_)) | None => Taken::No,
        }
    }

    /// Where there is no room, whoever sends is slowed down: nothing more is read from it for a while.
    async fn send(&self, to: PartyIndex, frame: &Bytes) -> Sent {
        let mut tries = ROOM.0;
        loop {
            let sent = self.router.0.hub.send(self.session, to, frame.clone(), self.time_to_live);
            tries -= 1;
            if sent != Sent::Lost || tries == 0 {
                return sent;
            }
            tokio::time::sleep(ROOM.1).await;
        }
    }
}

/// A parcel as it goes to its party.
pub(super) fn message(parcel: Parcel) -> Frame {
    match parcel {
        Parcel::Frame(frame) => Frame { frame, ..Frame::default() },
        Parcel::Gone(party) => Frame { gone: party.number().into(), ..Frame::default() },
        Parcel::Back(party) => Frame { back: party.number().into(), ..Frame::default() },
    }
}

#[tonic::async_trait]
impl Service for Router {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<RouterRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(JOIN, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no session was named"))??;
        let (joined, attached) = self.join(first.and_then(|first| first.request))?;
        let (broken, breaks) = oneshot::channel();
        let expires = attached.expires();
        // Ends when the party lets go of its stream, or with its time.
        tokio::spawn(async move {
            let why = loop {
                let Ok(said) = tokio::time::timeout_at(expires, incoming.message()).await else { return };
                match said {
                    Ok(Some(message)) => match joined.take(message.request).await {
                        Taken::Yes => {}
                        Taken::Left => return,
                        Taken::No => break Status::invalid_argument(NO_MESSAGE),
                    },
                    Ok(None) => return,
                    // Too long, or no message at all; or the connection is gone and nobody hears of it.
                    Err(status) => break status,
                }
            };
            let _ = broken.send(why);
        });
        let frames = stream::unfold(Some((attached, breaks)), |state| async move {
            let (mut attached, mut breaks) = state?;
            tokio::select! {
                parcel = attached.receive() => Some((Ok(message(parcel?)), Some((attached, breaks)))),
                Ok(why) = &mut breaks, if !breaks.is_terminated() => Some((Err(why), None)),
            }
        });
        Ok(Response::new(Box::pin(frames)))
    }
}
