//! How roles reach each other: gRPC over HTTP/2, over a connection in memory when they share a process.
//!
//! A role's services are an [`axum::Router`] and its clients take a [`Channel`](tonic::transport::Channel): which
//! kind of connection lies between the two is decided where they are wired together and nowhere else.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use tonic::service::Routes;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

/// The longest message: a frame with a payload of 2 MiB, or a session's record with the reports of 16 parties.
pub const MAX_GRPC_MESSAGE_BYTES: usize = 4 << 20;

/// How much of a stream may be on its way: a round of a keygen (143 kB and more to each peer) without waiting for the
/// receiver's word.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 2 << 20;

/// How much of all streams of one connection may be on its way.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// The longest HTTP/2 frame: fewer, larger frames than the default 16 KiB cost less.
pub(crate) const MAX_HTTP2_FRAME_BYTES: u32 = 256 << 10;

/// How long to wait for a connection.
const GRPC_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the other end of a connection with calls under way is asked whether it is still there.
const CLIENT_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// How long the other end may take to answer that.
const CLIENT_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Whether a status says that the other side is not there, or went away in the middle, and not what it thinks of the
/// call.
#[must_use]
pub fn is_unavailable(status: &Status) -> bool {
    // A status that the other side has sent has no source here.
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}

/// How long a call may take until its answer begins, where nothing is waited for: most of it is what the caller sends.
pub const RPC_TIMEOUT: Duration = Duration::from_secs(20);

/// A role's gRPC services, with the health service and reflection beside them. A call that has no answer `within` a
/// time ends: its caller may be sending its message for ever.
pub fn with_health_and_reflection(routes: Routes, within: Duration) -> axum::Router {
    let (_, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(quorate_proto::DESCRIPTORS)
        .build_v1();
    // The descriptions were encoded when this was built.
    #[allow(clippy::expect_used)]
    let reflection = reflection.expect("our own descriptions");
    let all = routes.add_service(health).add_service(reflection).prepare().into_axum_router();
    all.layer(from_fn(move |request: Request, next: Next| async move {
        let late = |_| Status::deadline_exceeded("the call took too long").into_http();
        tokio::time::timeout(within, next.run(request)).await.unwrap_or_else(late)
    }))
}

pub(crate) fn endpoint() -> Endpoint {
    // The address is not used: a connector leads to one place.
    Endpoint::from_static("http://role")
        .connect_timeout(GRPC_CONNECT_TIMEOUT)
        .http2_keep_alive_interval(CLIENT_KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(CLIENT_KEEP_ALIVE_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(MAX_HTTP2_FRAME_BYTES)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_message_never_comes_ends() {
        let never = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        let request =
            Request::post("/grpc.health.v1.Health/Check").header("content-type", "application/grpc");
        let began = tokio::time::Instant::now();
        let calling =
            with_health_and_reflection(Routes::default(), RPC_TIMEOUT).oneshot(request.body(never).unwrap());
        let answer = calling.await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], (Code::DeadlineExceeded as i32).to_string());
        assert_eq!(began.elapsed().as_secs(), RPC_TIMEOUT.as_secs());
    }
}
