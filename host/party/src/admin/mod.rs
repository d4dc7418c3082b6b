//! The interface for a party's operator: a socket in the file system, for the user of the party only.

mod grpc;
mod socket;

pub use grpc::service;
pub use socket::{SocketError, UnixSocket, connect};
