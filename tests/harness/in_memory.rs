//! Services of roles without a network.

use std::time::Duration;

use quorate_net::join_token::JoinKey;
use quorate_net::memory::{channel, in_memory};
use quorate_net::server::{Callers, serve};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Serves the gRPC service of a role in memory.
pub fn served(service: axum::Router) -> Channel {
    let (listener, connector) = in_memory();
    tokio::spawn(serve(listener, service, Callers::Roles, CancellationToken::new(), Duration::ZERO));
    channel(connector)
}

/// A key for join tokens.
///
/// # Panics
/// Never: the key is long enough.
pub fn join_key() -> JoinKey {
    JoinKey::new(&"k".repeat(JoinKey::MIN_SECRET_BYTES)).unwrap()
}
