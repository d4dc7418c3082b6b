//! The router: carries frames between the parties of a session. It is trusted with nothing but to try.
//!
//! [`Hub`] is its heart: bounded buffers, one per session and party, where frames wait until the party takes them. Parties
//! reach it through its gRPC [`service`](service()), each session over a [`Link`].

mod hub;
mod link;
mod service;

pub use hub::{Attached, Hub};
pub use link::{Link, RouterClient, Sender};
pub use service::service;
