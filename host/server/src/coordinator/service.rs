//! The coordinator's gRPC service.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use quorate_broker::store::{SessionRecord, SessionStatus, StoreError};
use quorate_core::abort::SignedAbort;
use quorate_core::certificate::Certificate;
use quorate_core::codec::decode;
use quorate_core::order::SignedOrder;
use quorate_core::{OrderId, PartyIndex, SessionId};
use quorate_proto::v1::coordinator_server::{Coordinator as Service, CoordinatorServer};
use quorate_proto::v1::session_request::Which;
use quorate_proto::v1::session_state::Status as State;
use quorate_proto::v1::{
    Failure, PartiesRequest, PartiesResponse, Plugin, Presence, ReportRequest, ReportResponse,
    SessionRequest, SessionState, SubmitEvent, SubmitRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Coordinator;
use super::carry_out::Submitted;
use super::reports::NotTaken;
use crate::grpc::{self, MESSAGE_BYTES};

/// Events that wait for whoever submitted an order: those of three sessions with 16 parties each.
const EVENTS: usize = 64;

/// Aborts that go with a plan: of a few earlier sessions, one of each party.
const ABORTS: usize = 64;

struct Served(Arc<Coordinator>);

/// The service, to be served.
pub fn service(coordinator: Arc<Coordinator>) -> axum::Router {
    let server = CoordinatorServer::new(Served(coordinator))
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    grpc::described(tonic::service::Routes::new(server))
}

fn invalid(what: &'static str) -> impl Fn() -> Status {
    move || Status::invalid_argument(what)
}

fn store_failed(error: StoreError) -> Status {
    if let StoreError::Unavailable(_) = error {
        return Status::unavailable("the control database does not answer");
    }
    tracing::error!(%error, cause = ?std::error::Error::source(&error), "the control database failed");
    Status::internal("the control database failed")
}

#[tonic::async_trait]
impl Service for Served {
    type SubmitStream = Pin<Box<dyn Stream<Item = Result<SubmitEvent, Status>> + Send>>;

    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<Self::SubmitStream>, Status> {
        let request = request.into_inner();
        let coordinator = Arc::clone(&self.0);
        let slot = Arc::clone(&coordinator.slots).try_acquire_owned();
        let slot = slot.map_err(|_| Status::resource_exhausted("too many orders are being carried out"))?;
        let signed: SignedOrder = decode(&request.order).map_err(|_| invalid("that is no order")())?;
        let setup = &coordinator.setup;
        let order = signed.open(&setup.originators, setup.clock.seconds());
        let order = order.map_err(|refused| Status::invalid_argument(refused.to_string()))?;
        let certificate = match request.certificate.as_ref() {
            [] => None,
            bytes => Some(decode::<Certificate>(bytes).map_err(|_| invalid("that is no certificate")())?),
        };
        let chain_code = match request.chain_code.as_ref() {
            [] => None,
            bytes => Some(bytes.try_into().map_err(|_| invalid("a chain code is 32 bytes long")())?),
        };
        let aborts = request.aborts.iter().take(ABORTS).map(|bytes| decode::<SignedAbort>(bytes));
        let aborts = aborts.collect::<Result<_, _>>().map_err(|_| invalid("that is no abort")())?;
        let wish = parties(&request.signers).ok_or_else(invalid("a signer that is no party index"))?;
        let until = setup.clock.millis().saturating_add(request.time_limit_ms);
        let until = until.min(order.expires_at.saturating_mul(1_000));
        let (events, receiver) = mpsc::channel(EVENTS);
        let again = request.again;
        let submitted =
            Submitted { order, signed, wish, certificate, chain_code, aborts, until, again, events };
        let held = coordinator.in_hand.take(submitted.order.id);
        let running = Arc::clone(&coordinator);
        coordinator.orders.spawn(async move {
            running.carry_out(submitted).await;
            drop((slot, held));
        });
        let stream = ReceiverStream::new(receiver).map(|event| Ok(SubmitEvent { event: Some(event) }));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn session(&self, request: Request<SessionRequest>) -> Result<Response<SessionState>, Status> {
        let store = &self.0.setup.store;
        let id = invalid("an id is 32 bytes long");
        let mut in_hand = false;
        let found = match request.into_inner().which.ok_or_else(invalid("which session?"))? {
            Which::Session(bytes) => {
                let session = SessionId(bytes.as_ref().try_into().map_err(|_| id())?);
                store.session(session).await
            }
            Which::Order(bytes) => {
                let order = OrderId(bytes.as_ref().try_into().map_err(|_| id())?);
                in_hand = self.0.in_hand.has(order);
                store.session_of(order).await
            }
        };
        match found.map_err(store_failed)? {
            Some(record) => Ok(Response::new(SessionState { in_hand, ..state(record) })),
            None if in_hand => Err(Status::unavailable("the order's first session is about to be made")),
            None => Err(Status::not_found("there is no such session")),
        }
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        match self.0.take_report(&request.into_inner().report).await {
            Ok(()) => Ok(Response::new(ReportResponse {})),
            Err(NotTaken::Store(error)) => Err(store_failed(error)),
            Err(refused) => Err(Status::invalid_argument(refused.to_string())),
        }
    }

    async fn parties(&self, _: Request<PartiesRequest>) -> Result<Response<PartiesResponse>, Status> {
        let there = self.0.presence.there();
        let parties = there.into_iter().map(|(identity, plugins)| Presence {
            identity: Bytes::copy_from_slice(&identity.0),
            plugins: plugins
                .into_iter()
                .map(|plugin| Plugin {
                    digest: Bytes::copy_from_slice(plugin.digest.as_bytes()),
                    protocol: plugin.protocol,
                    version: plugin.version.to_string(),
                    schemes: plugin.schemes,
                    max_parties: plugin.max_parties.into(),
                })
                .collect(),
        });
        Ok(Response::new(PartiesResponse { parties: parties.collect() }))
    }
}

fn parties(indices: &[u32]) -> Option<Vec<PartyIndex>> {
    let party = |index: &u32| u16::try_from(*index).ok().and_then(|index| PartyIndex::try_from(index).ok());
    indices.iter().map(party).collect()
}

fn state(record: SessionRecord) -> SessionState {
    let session = record.session;
    let (status, ended_ms, failure) = match record.status {
        SessionStatus::Running => (State::Running, 0, None),
        SessionStatus::Completed { at } => (State::Completed, at, None),
        SessionStatus::Failed { at, code, reason, culprits } => {
            let culprits = culprits.iter().map(|c| c.number().into()).collect();
            (State::Failed, at, Some(Failure { code, reason, culprits }))
        }
    };
    SessionState {
        session: Bytes::copy_from_slice(session.id.as_bytes()),
        account: Bytes::copy_from_slice(session.account.as_bytes()),
        order: session.ordered.into(),
        signers: session.signers.iter().map(|s| s.number().into()).collect(),
        digest: Bytes::copy_from_slice(session.digest.as_bytes()),
        created_ms: session.created,
        deadline_ms: session.deadline,
        status: status.into(),
        ended_ms,
        reports: record.reports.into_iter().map(Bytes::from).collect(),
        failure,
        in_hand: false,
    }
}
