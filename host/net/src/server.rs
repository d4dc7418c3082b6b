//! The accept loop that serves all roles: HTTP/1 and HTTP/2, JSON and gRPC, over TCP or in memory.
//!
//! The loop limits the number of open connections, the time to the first request, the time to read headers, the idle
//! time, the time of one request, and what strangers have at a time. When told to stop, it accepts no new connection, lets running requests finish,
//! and closes the rest after a grace period.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

pub use crate::connections::Caller;
use crate::connections::{Connections, MAX_OPEN_CONNECTIONS, OpenConnection, StrangerLimits};
use crate::grpc;
use crate::idle::{HEADER_TIMEOUT, MAX_REQUEST_DURATION};
use crate::listener::{ConnectionPermit, Listener, Peer};
use crate::metered_body::MeteredBody;
use crate::problem::Problem;

/// How often an HTTP/2 peer is asked whether it is still there.
const SERVER_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// How long a peer may take to answer that.
const SERVER_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How much of an answer waits in memory for a client that does not read it.
const MAX_WAITING_ANSWER_BYTES: usize = 256 << 10;

/// Those for whom a port is meant. Whoever has not proved to be one of them is a stranger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callers {
    /// Any client. Each request is checked for itself.
    Anybody,
    /// Roles of this deployment: with TLS, those whom its authority has certified.
    Roles,
}

impl Callers {
    /// Streams of one connection at a time.
    fn streams(self) -> u32 {
        match self {
            Self::Anybody => 128,
            // Every session of a party is one.
            Self::Roles => 2_048,
        }
    }

    /// How many bytes may come before they are read, on a stream and on a connection: they wait in memory.
    fn windows(self) -> (u32, u32) {
        match self {
            Self::Anybody => (64 << 10, 512 << 10),
            Self::Roles => (512 << 10, 2 << 20),
        }
    }

    /// How many connections strangers may have. At a port for roles each may take 3 MB.
    fn limits_for_strangers(self) -> StrangerLimits {
        match self {
            Self::Anybody => StrangerLimits { in_all: MAX_OPEN_CONNECTIONS, at_address: 64 },
            Self::Roles => StrangerLimits { in_all: 32, at_address: 8 },
        }
    }

    /// How many requests of a stranger may be under way on a connection, those included whose answers it has not read. With one
    /// more the connection is closed.
    fn requests_of_strangers(self) -> usize {
        match self {
            Self::Anybody => 128,
            // A party whose connection has broken joins all its sessions again at once.
            Self::Roles => 512,
        }
    }

    /// How many bytes of bodies a stranger may send on a connection for requests that are under way.
    fn body_bytes_of_strangers(self) -> usize {
        match self {
            // A key is in the headers.
            Self::Anybody => 64 << 10,
            // An order with a user's share is the longest by which a role shows who it is.
            Self::Roles => 1 << 20,
        }
    }

    /// How long a request of a stranger may be under way.
    fn patience_with_strangers(self) -> Duration {
        match self {
            Self::Anybody => Duration::from_secs(30),
            // Some ask for what takes long before they have shown an order.
            Self::Roles => MAX_REQUEST_DURATION,
        }
    }
}

/// How long to wait after accepting has failed: most often there are no file descriptors left.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Serves until `stop`, and then for at most `grace`.
pub async fn serve<L: Listener>(
    mut listener: L,
    router: Router,
    callers: Callers,
    stop: CancellationToken,
    grace: Duration,
) {
    let open = Connections::new(callers.limits_for_strangers());
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = async {
                let accepted = listener.accept().await;
                (accepted, open.room().await)
            } => accepted,
        };
        match accepted {
            (Ok((accepted, peer)), permit) => {
                let service = Service { router: router.clone(), callers, peer, permit };
                let (open, stop) = (Arc::new(open.add(peer).await), stop.clone());
                connections.spawn(async move {
                    let establishing = tokio::time::timeout(HEADER_TIMEOUT, L::establish(accepted));
                    let Some(established) = open.close.run_until_cancelled(establishing).await else {
                        return;
                    };
                    match established {
                        Ok(Ok(io)) => connection(io, service, open, stop).await,
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

/// What answers the requests of one connection.
#[derive(Clone)]
struct Service {
    router: Router,
    callers: Callers,
    peer: Peer,
    permit: Option<ConnectionPermit>,
}

impl Service {
    async fn answer(
        self,
        request: hyper::Request<hyper::body::Incoming>,
        open: Arc<OpenConnection>,
    ) -> Response {
        let at_most = self.callers.requests_of_strangers();
        let Some(active) = open.begin(at_most) else { return refuse(request.headers()) };
        let at_most = self.callers.body_bytes_of_strangers();
        let metered = |body| Body::new(MeteredBody::new(body, Arc::clone(&open.activity), at_most));
        let mut request: Request = request.map(metered);
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(Caller(Arc::clone(&open)));
        if let Some(permit) = self.permit {
            request.extensions_mut().insert(permit);
        }
        let response = self.router.oneshot(request).await.unwrap_or_else(|never| match never {});
        // A stream is under way for as long as its answer is.
        response.map(|body| Body::new(active.track(body)))
    }
}

/// The answer to a request too many.
fn refuse(headers: &HeaderMap) -> Response {
    let is_grpc =
        headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        return tonic::Status::resource_exhausted("too many requests of this connection are under way")
            .into_http();
    }
    Problem::overloaded().into_response()
}

async fn connection<Io>(io: Io, service: Service, open: Arc<OpenConnection>, stop: CancellationToken)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (peer, callers) = (service.peer, service.callers);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(SERVER_KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(SERVER_KEEP_ALIVE_TIMEOUT)
        .max_concurrent_streams(callers.streams())
        .max_send_buf_size(MAX_WAITING_ANSWER_BYTES)
        .initial_stream_window_size(callers.windows().0)
        .initial_connection_window_size(callers.windows().1)
        .max_frame_size(grpc::MAX_HTTP2_FRAME_BYTES);
    let of_requests = Arc::clone(&open);
    let service = hyper::service::service_fn(move |request| {
        let answering = service.clone().answer(request, Arc::clone(&of_requests));
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let served = builder.serve_connection_with_upgrades(TokioIo::new(io), service);
    let mut served = std::pin::pin!(served);
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            // Another connection takes its place. What it has sent is not read any more.
            () = open.close.cancelled() => return,
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
            () = open.activity.wait_until_closable(callers.patience_with_strangers()), if peer.0.is_some() => return,
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
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;
    use crate::idle::IDLE_TIMEOUT;

    /// Gives these connections, each from an address of its own.
    struct Given(mpsc::UnboundedReceiver<DuplexStream>, u32);

    impl Listener for Given {
        type Accepted = DuplexStream;
        type Io = DuplexStream;

        async fn establish(stream: DuplexStream) -> io::Result<DuplexStream> {
            Ok(stream)
        }

        async fn accept(&mut self) -> io::Result<(DuplexStream, Peer)> {
            self.1 += 1;
            match self.0.recv().await {
                Some(stream) => Ok((stream, Peer(Some(Ipv4Addr::from_bits(self.1).into())))),
                None => std::future::pending().await,
            }
        }
    }

    /// Serves what is sent to it.
    fn served(router: Router) -> mpsc::UnboundedSender<DuplexStream> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let given = Given(receiver, 0);
        tokio::spawn(serve(given, router, Callers::Anybody, CancellationToken::new(), Duration::ZERO));
        sender
    }

    fn connect_to(server: &mpsc::UnboundedSender<DuplexStream>) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(1 << 12);
        server.send(theirs).unwrap();
        ours
    }

    fn connect() -> DuplexStream {
        let never = || async { std::future::pending::<&str>().await };
        let known = |axum::Extension(caller): axum::Extension<Caller>| async move {
            caller.mark_known();
            std::future::pending::<&str>().await
        };
        let router = Router::new().route("/", get(|| async { "here" }));
        let router = router.route("/never", get(never)).route("/known", get(known));
        connect_to(&served(router))
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
        for (path, limit) in
            [("never", Callers::Anybody.patience_with_strangers()), ("known", MAX_REQUEST_DURATION)]
        {
            let open = stays_open(format!("GET /{path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
            assert!(open > limit && open <= limit + HEADER_TIMEOUT, "{path}: {open:?}");
        }
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
        let server = served(Router::new().route("/", get(hold)));
        let ask = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        for _ in 0..MAX_OPEN_CONNECTIONS {
            let mut connection = connect_to(&server);
            connection.write_all(ask).await.unwrap();
            connection.read_to_end(&mut Vec::new()).await.unwrap();
        }
        let mut more = connect_to(&server);
        more.write_all(ask).await.unwrap();
        let mut byte = [0];
        let patience = Duration::from_millis(300);
        let answered = tokio::time::timeout(patience, more.read(&mut byte)).await;
        assert!(answered.is_err(), "one more than there is room for");
        held.lock().unwrap().clear();
        more.read_exact(&mut byte).await.unwrap();
    }
}
