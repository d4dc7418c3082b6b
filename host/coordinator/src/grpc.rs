//! The coordinator's gRPC service.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use quorate_backends::database::StoreError;
use quorate_control_store::{SessionRecord, SessionStatus};
use quorate_core::codec::decode;
use quorate_core::order::OrderRefused;
use quorate_core::submission::{SignedSubmission, SubmissionRefused};
use quorate_net::grpc::{self, MAX_GRPC_MESSAGE_BYTES};
use quorate_net::server::Caller;
use quorate_net::telemetry::chain;
use quorate_proto::convert::{numbers, order_id, session_id};
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
use super::driver::drive;
use super::reports::ReportError;
use super::submission::SubmittedOrder;

/// The most events that wait for the caller of an order. A session has up to 17: its start, and the reports of 16
/// parties. A call tells of three sessions, of one again when it takes the lead over, of one again when its result came
/// late, and of the failure: 86.
const MAX_WAITING_EVENTS: usize = 96;

struct CoordinatorGrpc(Arc<Coordinator>);

/// The service, to be served.
pub fn service(coordinator: Arc<Coordinator>) -> axum::Router {
    let server = CoordinatorServer::new(CoordinatorGrpc(coordinator))
        .max_decoding_message_size(MAX_GRPC_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_GRPC_MESSAGE_BYTES);
    grpc::with_health_and_reflection(tonic::service::Routes::new(server), grpc::RPC_TIMEOUT)
}

fn store_failed(error: StoreError) -> Status {
    if let StoreError::Unavailable(_) = error {
        return Status::unavailable("the coordinator's database does not answer");
    }
    tracing::error!(error = %chain(&error), "the coordinator's database failed");
    Status::internal("the coordinator's database failed")
}

fn malformed_id() -> Status {
    Status::invalid_argument("an id is 32 bytes long")
}

impl CoordinatorGrpc {
    /// Reads a submission, if an account service of this deployment has submitted and ordered it.
    fn read(&self, submission: &[u8], events: mpsc::Sender<Event>) -> Result<SubmittedOrder, Status> {
        let services = &self.0.state.services;
        let signed: SignedSubmission =
            decode(submission).map_err(|_| Status::invalid_argument("this is not a submission"))?;
        let opened = signed.open(&services.originators);
        let submission = opened.map_err(|refused| match refused {
            SubmissionRefused::NotSigned => Status::permission_denied(refused.to_string()),
            SubmissionRefused::Malformed | SubmissionRefused::TooMuch => {
                Status::invalid_argument(refused.to_string())
            }
        })?;
        let order = submission.order.open(&services.originators, services.clock.seconds());
        let order = order.map_err(|refused| match refused {
            OrderRefused::NotYet | OrderRefused::Expired => Status::failed_precondition(refused.to_string()),
            _ => Status::invalid_argument(refused.to_string()),
        })?;
        let until = services.now() + Duration::from_millis(submission.time_limit_ms);
        let until = until.min(order.expires_at.into());
        Ok(SubmittedOrder { order, submission, until, events })
    }
}

#[tonic::async_trait]
impl Service for CoordinatorGrpc {
    type SubmitStream = Pin<Box<dyn Stream<Item = Result<SubmitEvent, Status>> + Send>>;

    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<Self::SubmitStream>, Status> {
        let coordinator = Arc::clone(&self.0);
        let slot = Arc::clone(&coordinator.permits).try_acquire_owned();
        let slot = slot.map_err(|_| Status::resource_exhausted("too many orders are being carried out"))?;
        let (events, receiver) = mpsc::channel(MAX_WAITING_EVENTS);
        let caller = request.extensions().get::<Caller>().cloned();
        let submitted = self.read(&request.into_inner().submission, events)?;
        if let Some(caller) = caller {
            caller.mark_known();
        }
        let role = coordinator.state.in_flight.join(submitted.order.id);
        let role = role
            .map_err(|_| Status::resource_exhausted("the order was submitted too often: wait for its end"))?;
        let state = Arc::clone(&coordinator.state);
        coordinator.orders.spawn(async move {
            drive(state, submitted, role).await;
            drop(slot);
        });
        let stream = ReceiverStream::new(receiver).map(|event| Ok(SubmitEvent { event: Some(event) }));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn session(&self, request: Request<SessionRequest>) -> Result<Response<SessionState>, Status> {
        let session = session_id(&request.into_inner().session).map_err(|_| malformed_id())?;
        match self.0.state.services.store.session(session).await.map_err(store_failed)? {
            Some(record) => Ok(Response::new(state(record))),
            None => Err(Status::not_found("there is no such session")),
        }
    }

    async fn order(&self, request: Request<OrderRequest>) -> Result<Response<OrderState>, Status> {
        let order = order_id(&request.into_inner().order).map_err(|_| malformed_id())?;
        // Read before the order's sessions: a session that is created in between is announced by the call that drives
        // it.
        let in_flight = self.0.state.in_flight.has(order);
        let sessions = self.0.state.services.store.sessions_of(order).await.map_err(store_failed)?;
        let is_final = sessions.iter().all(|record| record.is_final);
        let sessions = sessions.into_iter().map(state).collect();
        Ok(Response::new(OrderState { sessions, in_flight, is_final }))
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        match self.0.state.reports.ingest(&request.into_inner().report).await {
            Ok(()) => {
                if let Some(caller) = caller {
                    caller.mark_known();
                }
                Ok(Response::new(ReportResponse {}))
            }
            Err(ReportError::Store(error)) => Err(store_failed(error)),
            Err(panicked @ ReportError::TaskPanicked) => Err(Status::unavailable(panicked.to_string())),
            Err(refused) => Err(Status::invalid_argument(refused.to_string())),
        }
    }

    async fn parties(&self, _: Request<PartiesRequest>) -> Result<Response<PartiesResponse>, Status> {
        let there = self.0.state.presence.online();
        let parties = there.into_iter().map(|(identity, plugins)| Presence {
            identity: Bytes::copy_from_slice(&identity.0),
            plugins: plugins.iter().map(Plugin::from).collect(),
        });
        Ok(Response::new(PartiesResponse { parties: parties.collect() }))
    }
}

fn state(record: SessionRecord) -> SessionState {
    let session = record.session;
    let (status, ended_ms, failure) = match record.status {
        SessionStatus::Running => (State::Running, 0, None),
        SessionStatus::Completed { at } => (State::Completed, at.0, None),
        SessionStatus::Failed { at, code, reason, culprits } => {
            let culprits = numbers(&culprits);
            (State::Failed, at.0, Some(Failure { code, reason, culprits }))
        }
    };
    SessionState {
        session: Bytes::copy_from_slice(session.id.as_bytes()),
        account: Bytes::copy_from_slice(session.account.as_bytes()),
        order: session.ordered.into(),
        signers: numbers(&session.signers),
        digest: Bytes::copy_from_slice(session.digest.as_bytes()),
        created_ms: session.created.0,
        deadline_ms: session.deadline.0,
        status: status.into(),
        ended_ms,
        reports: record.reports.into_iter().map(Bytes::from).collect(),
        failure,
    }
}
