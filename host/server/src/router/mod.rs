//! The router: carries frames between the parties of a session. It is trusted with nothing but to try.
//!
//! [`Hub`] is its heart: bounded buffers, one per session and party, where frames wait until the party takes them. Parties
//! reach it through gRPC or a WebSocket ([`service`](service())), each session over a [`Link`], with a token
//! ([`JoinKey`]) that came with the plan. Several routers exchange what waits for parties that are attached elsewhere
//! ([`Exchange`]); as a rule the parties of a session meet at the same one.

mod exchange;
mod hub;
mod link;
mod service;
mod token;
mod websocket;

pub use exchange::Exchange;
pub use hub::{Attached, Hub, Parcel, Sent};
pub use link::{Link, RouterClient, Sender};
pub use service::{RouterSetup, service};
pub use token::{JoinKey, JoinKeyError, TokenError};
