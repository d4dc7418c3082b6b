//! How roles reach each other: gRPC over HTTP/2, over a connection in memory when they share a process.
//!
//! A role's services are an [`axum::Router`] and its clients take a [`Channel`]: which kind of connection lies between
//! the two is decided where they are wired together and nowhere else.

mod memory;

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

pub use memory::{MemoryConnector, MemoryListener, in_memory};

/// The longest message: a frame with a payload of 2 MiB, or a session's record with the reports of 16 parties.
pub const MESSAGE_BYTES: usize = 4 << 20;

/// How much of a stream may be on its way: a round of a keygen (143 kB and more to each peer) without waiting for the
/// receiver's word.
pub(crate) const STREAM_WINDOW: u32 = 2 << 20;

/// How much of all streams of one connection may be on its way.
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;

/// The longest HTTP/2 frame: fewer, larger frames than the default 16 KiB cost less.
pub(crate) const FRAME_BYTES: u32 = 256 << 10;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// A channel over connections that the connector makes; the first is made when it is needed.
#[must_use]
pub fn channel(connector: MemoryConnector) -> Channel {
    // The address is not used: the connector leads to one place.
    Endpoint::from_static("http://in-memory")
        .connect_timeout(CONNECT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES)
        .connect_with_connector_lazy(connector)
}
