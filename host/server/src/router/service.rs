//! The router's gRPC service: one stream per session and party, over the [`Hub`].

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, stream};
use quorate_core::{PartyIndex, SessionId, Threshold};
use quorate_proto::v1::router_request::Request as Kind;
use quorate_proto::v1::router_server::{Router, RouterServer};
use quorate_proto::v1::{Frame, Join, RouterRequest};
use tonic::{Request, Response, Status, Streaming};

use super::Hub;
use crate::grpc::MESSAGE_BYTES;

/// How long a party may take to say which session its stream is for.
const JOIN: Duration = Duration::from_secs(10);

/// How long frames are kept for parties that are not attached, at most: no order lives longer.
const LONGEST: Duration = Duration::from_secs(600);

struct Service {
    hub: Hub,
}

/// The service, to be served.
pub fn service(hub: Hub) -> axum::Router {
    let server = RouterServer::new(Service { hub })
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    tonic::service::Routes::new(server).prepare().into_axum_router()
}

struct Joined {
    session: SessionId,
    party: PartyIndex,
    time_to_live: Duration,
}

fn joined(join: &Join) -> Result<Joined, Status> {
    let session = join.session.as_ref().try_into();
    let session = session.map_err(|_| Status::invalid_argument("a session id is 32 bytes long"))?;
    let party = party(join.party).ok_or_else(|| Status::invalid_argument("that is no party index"))?;
    let time_to_live = Duration::from_millis(join.time_to_live_ms).min(LONGEST);
    Ok(Joined { session: SessionId(session), party, time_to_live })
}

fn party(index: u32) -> Option<PartyIndex> {
    let index = u16::try_from(index).ok().filter(|&index| index <= Threshold::MAX_PARTIES)?;
    PartyIndex::try_from(index).ok()
}

#[tonic::async_trait]
impl Router for Service {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<RouterRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(JOIN, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no session was named"))??;
        let Some(Kind::Join(join)) = first.and_then(|first| first.request) else {
            return Err(Status::invalid_argument("the first message names the session"));
        };
        let Joined { session, party: me, time_to_live } = joined(&join)?;
        let attached = self
            .hub
            .attach(session, me, time_to_live)
            .ok_or_else(|| Status::resource_exhausted("attached already, or no room for another session"))?;
        let hub = self.hub.clone();
        // Ends when the party lets go of its stream.
        tokio::spawn(async move {
            while let Ok(Some(message)) = incoming.message().await {
                let Some(Kind::Outgoing(outgoing)) = message.request else { break };
                let Some(to) = party(outgoing.to) else { break };
                if !hub.send(session, to, outgoing.frame, time_to_live) {
                    tracing::debug!(%session, %to, "no room for a frame; its sender sends it again");
                }
            }
        });
        let frames = stream::unfold(attached, |mut attached| async move {
            let frame = attached.receive().await?;
            Some((Ok(Frame { frame }), attached))
        });
        Ok(Response::new(Box::pin(frames)))
    }
}
