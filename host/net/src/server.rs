//! The accept loop that serves all roles: HTTP/1 and HTTP/2, JSON and gRPC, over TCP or in memory.
//!
//! The loop limits the number of open connections, the time to the first request, the time to read headers, the idle
//! time, and the time of one request. When told to stop, it accepts no new connection, lets running requests finish,
//! and closes the rest after a grace period.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::grpc;
use crate::idle::{Activity, HEADER_TIMEOUT};
use crate::listener::{ConnectionPermit, Listener, Peer};

/// Connections at a time. Each may carry many requests; one more waits until another closes.
const MAX_OPEN_CONNECTIONS: usize = 1_024;

/// How often an HTTP/2 peer is asked whether it is still there.
const SERVER_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// How long a peer may take to answer that.
const SERVER_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Streams of one connection at a time: every session of a party is one.
const MAX_STREAMS_PER_CONNECTION: u32 = 4_096;

/// How long to wait after accepting has failed: most often there are no file descriptors left.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Serves until `stop`, and then for at most `grace`.
pub async fn serve<L: Listener>(mut listener: L, router: Router, stop: CancellationToken, grace: Duration) {
    let slots = Arc::new(Semaphore::new(MAX_OPEN_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = async {
                // The semaphore is never closed.
                let permit = Arc::clone(&slots).acquire_owned().await.ok().map(|slot| ConnectionPermit(Arc::new(slot)));
                (listener.accept().await, permit)
            } => accepted,
        };
        match accepted {
            (Ok((accepted, peer)), permit) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    match tokio::time::timeout(HEADER_TIMEOUT, L::establish(accepted)).await {
                        Ok(Ok(io)) => connection(io, peer, permit, router, stop).await,
                        Ok(Err(error)) => tracing::debug!(%error, "connection not established"),
                        Err(_) => tracing::debug!("connection not established in time"),
                    }
                });
            }
            (Err(error), _) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(grace, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "connections were still open after the grace period");
    }
}

async fn connection<Io>(
    io: Io,
    peer: Peer,
    permit: Option<ConnectionPermit>,
    router: Router,
    stop: CancellationToken,
) where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(SERVER_KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(SERVER_KEEP_ALIVE_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .initial_stream_window_size(grpc::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(grpc::CONNECTION_WINDOW_BYTES)
        .max_frame_size(grpc::MAX_HTTP2_FRAME_BYTES);
    let activity = Arc::new(Activity::default());
    let active = Arc::clone(&activity);
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (router, active, permit) = (router.clone(), Arc::clone(&active), permit.clone());
        async move {
            let active = active.begin();
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            if let Some(permit) = permit {
                request.extensions_mut().insert(permit);
            }
            let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
            // A stream is under way for as long as its answer is.
            Ok::<_, Infallible>(response.map(|body| active.track(body)))
        }
    });
    let served = builder.serve_connection_with_upgrades(TokioIo::new(io), service);
    let mut served = std::pin::pin!(served);
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = served.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended with an error");
                }
                return;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                served.as_mut().graceful_shutdown();
            }
            // Roles keep their connections in memory for as long as they live.
            () = activity.wait_until_closable(), if peer.0.is_some() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::Ipv4Addr;
    use std::sync::Mutex;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::Instant;

    use super::*;
    use crate::idle::{IDLE_TIMEOUT, MAX_REQUEST_DURATION};

    /// Gives these connections from outside, and then none.
    struct Few(Vec<DuplexStream>);

    impl Listener for Few {
        type Accepted = DuplexStream;
        type Io = DuplexStream;

        async fn establish(stream: DuplexStream) -> io::Result<DuplexStream> {
            Ok(stream)
        }

        async fn accept(&mut self) -> io::Result<(DuplexStream, Peer)> {
            match self.0.pop() {
                Some(stream) => Ok((stream, Peer(Some(Ipv4Addr::LOCALHOST.into())))),
                None => std::future::pending().await,
            }
        }
    }

    fn connect_to(router: Router, count: usize) -> Vec<DuplexStream> {
        let (ours, theirs) = (0..count).map(|_| tokio::io::duplex(1 << 12)).unzip();
        tokio::spawn(serve(Few(theirs), router, CancellationToken::new(), Duration::ZERO));
        ours
    }

    fn connect() -> DuplexStream {
        let never = || async { std::future::pending::<&str>().await };
        let router = Router::new().route("/", get(|| async { "here" })).route("/never", get(never));
        connect_to(router, 1).remove(0)
    }

    /// How long a connection stays open after this was sent on it.
    async fn stays_open(sent: &[u8]) -> Duration {
        let mut connection = connect();
        let began = Instant::now();
        connection.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_for_nothing_is_closed() {
        for silent in [&b""[..], b"PRI * HTTP/2.0", b"GET / HTTP/1.1\r\nhost: x\r\n"] {
            let open = stays_open(silent).await;
            assert!(open <= HEADER_TIMEOUT + Duration::from_secs(1), "{silent:?}: {open:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_been_answered_is_closed_when_it_is_idle() {
        let open = stays_open(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(open <= HEADER_TIMEOUT + IDLE_TIMEOUT + IDLE_TIMEOUT, "{open:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_request_is_never_over_is_closed() {
        let open = stays_open(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(
            open > MAX_REQUEST_DURATION && open <= MAX_REQUEST_DURATION + HEADER_TIMEOUT + 2 * IDLE_TIMEOUT,
            "{open:?}"
        );
    }

    #[tokio::test]
    async fn what_outlives_its_connection_takes_its_room() {
        let held: Arc<Mutex<Vec<ConnectionPermit>>> = Arc::default();
        let kept = Arc::clone(&held);
        // As a WebSocket does.
        let hold = move |axum::Extension(room): axum::Extension<ConnectionPermit>| {
            kept.lock().unwrap().push(room);
            async { "held" }
        };
        let mut connections = connect_to(Router::new().route("/", get(hold)), MAX_OPEN_CONNECTIONS + 1);
        // The last is accepted first.
        let mut first = connections.remove(0);
        let ask = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        for mut connection in connections {
            connection.write_all(ask).await.unwrap();
            connection.read_to_end(&mut Vec::new()).await.unwrap();
        }
        first.write_all(ask).await.unwrap();
        let mut byte = [0];
        let patience = Duration::from_millis(300);
        let answered = tokio::time::timeout(patience, first.read(&mut byte)).await;
        assert!(answered.is_err(), "one more than there is room for");
        held.lock().unwrap().clear();
        first.read_exact(&mut byte).await.unwrap();
    }
}
