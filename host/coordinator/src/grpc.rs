//! The coordinator's gRPC service.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use quorate_backends::database::StoreError;
use quorate_control_store::{SessionRecord, SessionStatus};
use quorate_core::codec::decode;
use quorate_core::order::OrderRefused;
use quorate_core::submission::{SignedSubmission, SubmissionRefused};
use quorate_core::{OrderId, SessionId};
use quorate_net::grpc::{self, MESSAGE_BYTES};
use quorate_proto::v1::coordinator_server::{Coordinator as Service, CoordinatorServer};
use quorate_proto::v1::session_state::Status as State;
use quorate_proto::v1::submit_event::Event;
use quorate_proto::v1::{
    Failure, OrderRequest, OrderState, PartiesRequest, PartiesResponse, Plugin, Presence, ReportRequest,
    ReportResponse, SessionRequest, SessionState, SubmitEvent, SubmitRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Coordinator;
use super::driver::Submitted;
use super::reports::NotTaken;

/// Events that wait for whoever submitted an order: those of three sessions with 16 parties each.
const EVENTS: usize = 64;

struct Served(Arc<Coordinator>);

/// The service, to be served.
pub fn service(coordinator: Arc<Coordinator>) -> axum::Router {
    let server = CoordinatorServer::new(Served(coordinator))
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    grpc::described(tonic::service::Routes::new(server), grpc::RPC_TIMEOUT)
}

fn store_failed(error: StoreError) -> Status {
    if let StoreError::Unavailable(_) = error {
        return Status::unavailable("the control database does not answer");
    }
    tracing::error!(%error, cause = ?std::error::Error::source(&error), "the control database failed");
    Status::internal("the control database failed")
}

fn id(bytes: &[u8]) -> Result<[u8; 32], Status> {
    bytes.try_into().map_err(|_| Status::invalid_argument("an id is 32 bytes long"))
}

impl Served {
    /// What is submitted, if an account service of this deployment has submitted and ordered it.
    fn read(&self, submission: &[u8], events: mpsc::Sender<Event>) -> Result<Submitted, Status> {
        let setup = &self.0.setup;
        let signed: SignedSubmission =
            decode(submission).map_err(|_| Status::invalid_argument("that is no submission"))?;
        let opened = signed.open(&setup.originators);
        let submission = opened.map_err(|refused| match refused {
            SubmissionRefused::NotSigned => Status::permission_denied(refused.to_string()),
            SubmissionRefused::Malformed | SubmissionRefused::TooMuch => {
                Status::invalid_argument(refused.to_string())
            }
        })?;
        let order = submission.order.open(&setup.originators, setup.clock.seconds());
        let order = order.map_err(|refused| match refused {
            OrderRefused::NotYet | OrderRefused::Expired => Status::failed_precondition(refused.to_string()),
            _ => Status::invalid_argument(refused.to_string()),
        })?;
        let until = setup.clock.millis().saturating_add(submission.time_limit);
        let until = until.min(order.expires_at.saturating_mul(1_000));
        Ok(Submitted { order, submission, until, events, begun: Mutex::default() })
    }
}

#[tonic::async_trait]
impl Service for Served {
    type SubmitStream = Pin<Box<dyn Stream<Item = Result<SubmitEvent, Status>> + Send>>;

    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<Self::SubmitStream>, Status> {
        let coordinator = Arc::clone(&self.0);
        let slot = Arc::clone(&coordinator.slots).try_acquire_owned();
        let slot = slot.map_err(|_| Status::resource_exhausted("too many orders are being carried out"))?;
        let (events, receiver) = mpsc::channel(EVENTS);
        let submitted = self.read(&request.into_inner().submission, events)?;
        let part = coordinator.in_hand.take(submitted.order.id);
        let part = part
            .map_err(|_| Status::resource_exhausted("the order was submitted too often: wait for its end"))?;
        let running = Arc::clone(&coordinator);
        coordinator.orders.spawn(async move {
            running.carry_out(submitted, part).await;
            drop(slot);
        });
        let stream = ReceiverStream::new(receiver).map(|event| Ok(SubmitEvent { event: Some(event) }));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn session(&self, request: Request<SessionRequest>) -> Result<Response<SessionState>, Status> {
        let session = SessionId(id(&request.into_inner().session)?);
        match self.0.setup.store.session(session).await.map_err(store_failed)? {
            Some(record) => Ok(Response::new(state(record))),
            None => Err(Status::not_found("there is no such session")),
        }
    }

    async fn order(&self, request: Request<OrderRequest>) -> Result<Response<OrderState>, Status> {
        let order = OrderId(id(&request.into_inner().order)?);
        // Before its sessions are read: one that is made in between is told of by whoever has it in hand.
        let in_hand = self.0.in_hand.has(order);
        let sessions = self.0.setup.store.sessions_of(order).await.map_err(store_failed)?;
        let given_up = sessions.iter().all(|record| record.is_final);
        let sessions = sessions.into_iter().map(state).collect();
        Ok(Response::new(OrderState { sessions, in_hand, given_up }))
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        match self.0.take_report(&request.into_inner().report).await {
            Ok(()) => Ok(Response::new(ReportResponse {})),
            Err(NotTaken::Store(error)) => Err(store_failed(error)),
            Err(died @ NotTaken::Died) => Err(Status::unavailable(died.to_string())),
            Err(refused) => Err(Status::invalid_argument(refused.to_string())),
        }
    }

    async fn parties(&self, _: Request<PartiesRequest>) -> Result<Response<PartiesResponse>, Status> {
        let there = self.0.presence.there();
        let parties = there.into_iter().map(|(identity, plugins)| Presence {
            identity: Bytes::copy_from_slice(&identity.0),
            // Of use to coordinators only.
            key_name: Bytes::new(),
            key_proof: Bytes::new(),
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
    }
}
