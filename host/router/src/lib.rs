//! The router: carries frames between the parties of a session. It is trusted for liveness only.
//!
//! [`Hub`] is its heart: bounded buffers, one per session and party, where frames wait until the party takes them.
//! Parties reach it through gRPC or a WebSocket ([`service`](service())), each session over a stream of its own, with
//! a join token that came with the plan. Several routers exchange what waits for parties that are attached elsewhere
//! ([`Peering`]); as a rule the parties of a session meet at the same one.

mod grpc;
mod hub;
mod membership;
mod peering;
mod routes;
mod websocket;

pub use hub::{Attached, Hub, Sent};
pub use membership::RouterSetup;
pub use peering::Peering;
pub use routes::service;
