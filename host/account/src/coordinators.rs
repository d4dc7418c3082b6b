//! The coordinators as the account service calls them.

use std::time::Duration;

use bytes::Bytes;
use quorate_core::code::Code;
use quorate_core::{AccountId, OrderId, SessionId};
use quorate_net::grpc::{MAX_GRPC_MESSAGE_BYTES, is_unavailable};
use quorate_net::problem::Problem;
use quorate_net::replicas::Replicas;
use quorate_proto::v1::coordinator_client::CoordinatorClient;
use quorate_proto::v1::{
    OrderRequest, OrderState, PartiesRequest, Plugin, SessionRequest, SessionState, SubmitEvent,
    SubmitRequest,
};
use tonic::transport::Channel;
use tonic::{Code as Grpc, Status, Streaming};

/// How long a coordinator may take to answer what it knows by itself, or to acknowledge an order.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// The coordinators of the deployment. Any of them answers; their word proves nothing.
#[derive(Clone)]
pub(crate) struct Coordinators {
    replicas: Replicas,
}

impl Coordinators {
    pub(crate) fn new(replicas: Replicas) -> Self {
        Self { replicas }
    }

    /// How many replicas there are.
    pub(crate) fn count(&self) -> usize {
        self.replicas.count()
    }

    /// Submits an order and subscribes to what becomes of it. `request` is asked once for every replica that is tried. The
    /// orders of one account begin at the same replica: the presignatures that it has had made are known to it alone.
    pub(crate) async fn submit(
        &self,
        account: AccountId,
        mut request: impl FnMut() -> SubmitRequest,
    ) -> Result<Streaming<SubmitEvent>, Status> {
        let number = usize::from(u16::from_le_bytes([account.0[0], account.0[1]]));
        let submitting = self.replicas.call_from(number, CALL_TIMEOUT, |channel| {
            let request = request();
            async { client(channel).submit(request).await }
        });
        Ok(submitting.await?.into_inner())
    }

    /// Reads what the coordinators know of an order.
    pub(crate) async fn fetch_order(&self, order: OrderId) -> Result<OrderState, Problem> {
        let request = OrderRequest { order: Bytes::copy_from_slice(order.as_bytes()) };
        let asking = self.replicas.call(CALL_TIMEOUT, |channel| {
            let request = request.clone();
            async { client(channel).order(request).await }
        });
        Ok(asking.await.map_err(|status| problem(&status))?.into_inner())
    }

    /// Reads what the coordinators know of a session.
    pub(crate) async fn fetch_session(&self, id: SessionId) -> Result<SessionState, Problem> {
        let not_found =
            || Problem::new(Code::SessionNotFound, "no session has this id, or it is older than 30 days");
        let request = SessionRequest { session: Bytes::copy_from_slice(id.as_bytes()) };
        let asking = self.replicas.call(CALL_TIMEOUT, |channel| {
            let request = request.clone();
            async { client(channel).session(request).await }
        });
        match asking.await {
            Ok(state) => {
                let state = Some(state.into_inner());
                state.filter(|state| state.session.as_ref() == id.as_bytes()).ok_or_else(not_found)
            }
            Err(status) if status.code() == Grpc::NotFound => Err(not_found()),
            Err(status) => Err(problem(&status)),
        }
    }

    /// Lists the plugins of all parties that are online.
    pub(crate) async fn list_plugins(&self) -> Result<Vec<Plugin>, Problem> {
        let asking = self
            .replicas
            .call(CALL_TIMEOUT, |channel| async { client(channel).parties(PartiesRequest {}).await });
        let parties = asking.await.map_err(|status| problem(&status))?.into_inner().parties;
        Ok(parties.into_iter().flat_map(|party| party.plugins).collect())
    }
}

fn client(channel: Channel) -> CoordinatorClient<Channel> {
    CoordinatorClient::new(channel)
        .max_decoding_message_size(MAX_GRPC_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_GRPC_MESSAGE_BYTES)
}

/// Translates the status of a failed call for a caller of the API.
pub(crate) fn problem(status: &Status) -> Problem {
    match status.code() {
        Grpc::ResourceExhausted => Problem::overloaded(),
        Grpc::DeadlineExceeded => deadline_passed(),
        Grpc::FailedPrecondition => {
            tracing::error!(%status, "the clock of this machine or of the coordinator is wrong");
            let detail =
                "the clocks of account service and coordinator are apart: the operator must set them";
            Problem::new(Code::ClockSkew, detail)
        }
        Grpc::PermissionDenied => {
            tracing::error!(%status, "the coordinator does not pin this account service's originator key");
            let detail = "the coordinator does not know the key of this account service: the operators compare \
                          QUORATE_ORIGINATOR_KEY here and QUORATE_ORIGINATORS there";
            Problem::new(Code::Refused, detail)
        }
        code if matches!(code, Grpc::Unavailable | Grpc::Cancelled) || is_unavailable(status) => {
            Problem::new(Code::Unavailable, "the coordinator does not answer: try again later")
        }
        _ => {
            tracing::error!(%status, "coordinator refused a call");
            Problem::new(Code::Internal, "the coordinator refused: the operator finds the reason in the log")
        }
    }
}

/// The problem of an order without a result within its time.
pub(crate) fn deadline_passed() -> Problem {
    Problem::new(
        Code::DeadlinePassed,
        "there was no result in time: repeat the request with the same Idempotency-Key, or read the session that is named",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_that_does_not_know_the_account_service_is_no_internal_fault() {
        let refused = problem(&Status::permission_denied("the submission is signed by no originator"));
        assert_eq!(refused.code, Code::Refused);
        assert!(refused.detail.contains("QUORATE_ORIGINATORS"), "{}", refused.detail);
        assert_eq!(problem(&Status::internal("a bug")).code, Code::Internal);
    }
}
