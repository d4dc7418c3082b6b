//! What an operator does at a party: through a socket in the file system, and only as the user that the party runs as.

mod service;
mod socket;

pub use service::service;
pub use socket::{SocketError, UnixSocket, connect};
