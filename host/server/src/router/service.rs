//! The router's service: one stream per session and party, over gRPC or a WebSocket, with the same messages.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::any;
use futures::{Stream, stream};
use quorate_core::{PartyIndex, SessionId, Threshold};
use quorate_proto::v1::router_request::Request as Kind;
use quorate_proto::v1::router_server::{Router as Service, RouterServer};
use quorate_proto::v1::{Frame, Join, RouterRequest};
use tonic::{Request, Response, Status, Streaming};

use super::token::Ticket;
use super::{Attached, Exchange, Hub, JoinKey, Parcel, Sent, websocket};
use crate::clock::Clock;
use crate::grpc::{self, MESSAGE_BYTES};

/// How long a party may take to say which session its stream is for.
pub(super) const JOIN: Duration = Duration::from_secs(10);

/// How long frames are kept for parties that are not attached, at most: no order lives longer.
pub(super) const LONGEST: Duration = Duration::from_secs(600);

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

impl Joined {
    /// Carries out what a party says after it has joined; false if that was its last word, or makes no sense.
    pub(super) fn take(&self, request: Option<Kind>) -> bool {
        let Router(setup) = &self.router;
        match request {
            Some(Kind::Outgoing(outgoing)) => {
                let Some(to) = party(outgoing.to).filter(|to| to.number() <= self.parties) else {
                    return false;
                };
                match setup.hub.send(self.session, to, outgoing.frame.clone(), self.time_to_live) {
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
                true
            }
            Some(Kind::Leave(_)) => {
                setup.hub.leave(self.session, self.me);
                false
            }
            Some(Kind::Join(_)) | None => false,
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
        // Ends when the party lets go of its stream.
        tokio::spawn(async move {
            while let Ok(Some(message)) = incoming.message().await {
                if !joined.take(message.request) {
                    break;
                }
            }
        });
        let frames = stream::unfold(attached, |mut attached| async move {
            let parcel = attached.receive().await?;
            Some((Ok(message(parcel)), attached))
        });
        Ok(Response::new(Box::pin(frames)))
    }
}
