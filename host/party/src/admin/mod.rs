//! What an operator does at a party: through a socket in the file system, and only as the user that the party runs as.

mod grpc;
mod socket;

pub use grpc::service;
pub use socket::{SocketError, UnixSocket, connect};
