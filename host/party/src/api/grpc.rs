//! The part of the party API that the account service calls.

use std::time::Duration;

use bytes::Bytes;
use quorate_core::codec::decode;
use quorate_core::order::{MAX_ORDER_LIFETIME, SignedOrder};
use quorate_net::grpc::{self, MAX_GRPC_MESSAGE_BYTES};
use quorate_net::problem::Problem;
use quorate_net::server::Caller;
use quorate_party_store::ShareLookup;
use quorate_proto::convert::{order_id, session_id};
use quorate_proto::v1::share_request::Which as Requested;
use quorate_proto::v1::user_party_server::{UserParty, UserPartyServer};
use quorate_proto::v1::{
    Failure, ShareRequest, ShareResponse, SubmitUserShareRequest, SubmitUserShareResponse,
};
use tonic::{Request, Response, Status};

use super::PartyApi;
use crate::user::shares::DeliveredShare;

/// The longest that a call waits, and that a share is held.
const MAX_WAIT_DURATION: Duration = MAX_ORDER_LIFETIME;

/// The service, to be served.
pub fn service(api: PartyApi) -> axum::Router {
    let server = UserPartyServer::new(api)
        .max_decoding_message_size(MAX_GRPC_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_GRPC_MESSAGE_BYTES);
    grpc::with_health_and_reflection(
        tonic::service::Routes::new(server),
        MAX_WAIT_DURATION + grpc::RPC_TIMEOUT,
    )
}

#[tonic::async_trait]
impl UserParty for PartyApi {
    async fn submit_user_share(
        &self,
        request: Request<SubmitUserShareRequest>,
    ) -> Result<Response<SubmitUserShareResponse>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let SubmitUserShareRequest { order, request, time_limit_ms } = request.into_inner();
        let order: SignedOrder =
            decode(&order).map_err(|_| Status::invalid_argument("this is not an order"))?;
        let limit = Duration::from_millis(time_limit_ms).min(MAX_WAIT_DURATION);
        let accepted = self.0.shares.submit_user_share(order, &request, limit).await;
        // It has come with a genuine order.
        if let (Ok(_), Some(caller)) = (&accepted, caller) {
            caller.mark_known();
        }
        Ok(Response::new(SubmitUserShareResponse { refused: accepted.err().map(failure) }))
    }

    async fn share(&self, request: Request<ShareRequest>) -> Result<Response<ShareResponse>, Status> {
        let ShareRequest { which, wait_ms } = request.into_inner();
        let malformed = |_| Status::invalid_argument("an id is 32 bytes long");
        let which = match which.ok_or_else(|| Status::invalid_argument("which share?"))? {
            Requested::Session(bytes) => ShareLookup::Session(session_id(&bytes).map_err(malformed)?),
            Requested::Order(bytes) => ShareLookup::Order(order_id(&bytes).map_err(malformed)?),
        };
        let patience = Duration::from_millis(wait_ms).min(MAX_WAIT_DURATION);
        Ok(Response::new(match self.0.shares.await_share(which, patience).await {
            Ok(DeliveredShare::Sealed(delivery, _, sealed)) => ShareResponse {
                session: Bytes::copy_from_slice(delivery.started.session.as_bytes()),
                sealed: sealed.into(),
                refused: None,
            },
            // An unsealed share goes to its user only.
            Ok(DeliveredShare::Unsealed(..)) => return Err(Status::internal("that share is not sealed")),
            Err(problem) => ShareResponse { refused: Some(failure(problem)), ..ShareResponse::default() },
        }))
    }
}

fn failure(problem: Problem) -> Failure {
    Failure { code: problem.code.text().into(), reason: problem.detail, culprits: vec![] }
}
