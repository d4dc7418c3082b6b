//! The interface for a party's operator: a socket in the file system, for the user of the party only.

mod grpc;
mod socket;

pub use grpc::{MAX_ADMIN_MESSAGE_BYTES, service};
pub use socket::{SocketError, UnixSocket, connect};
