//! The interfaces of a router: gRPC, and `/ws`.

use std::sync::Arc;

use axum::routing::any;
use quorate_net::grpc::{self, MAX_GRPC_MESSAGE_BYTES};
use quorate_proto::v1::router_server::RouterServer;

use super::membership::{Router, RouterSetup};
use super::websocket;

/// The service, to be served: gRPC, and `/ws`.
pub fn service(setup: RouterSetup) -> axum::Router {
    let router = Router(Arc::new(setup));
    let server = RouterServer::new(router.clone())
        .max_decoding_message_size(MAX_GRPC_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_GRPC_MESSAGE_BYTES);
    let sockets = axum::Router::new().route("/ws", any(websocket::upgrade)).with_state(router);
    grpc::with_health_and_reflection(tonic::service::Routes::new(server), grpc::RPC_TIMEOUT).merge(sockets)
}
