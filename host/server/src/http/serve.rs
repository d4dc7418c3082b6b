//! The accept loop that serves all roles: HTTP/1 and HTTP/2, JSON and gRPC, over TCP or in memory.
//!
//! Connections are bounded in number, in the time that their first request and all headers may take, and those of others
//! in how long they may be idle, and how long a request may be under way. When told to stop, the loop accepts nothing
//! new, lets the requests under way finish and gives up after a grace period.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use quorate_core::order::LIFETIME;
use rustix::net::sockopt;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::grpc;

/// Connections at a time. Each may carry many requests; one more waits until another closes.
const CONNECTIONS: usize = 1_024;

/// How long a client may take to send its headers.
const HEADERS: Duration = Duration::from_secs(10);

/// How often an HTTP/2 peer is asked whether it is still there, and how long it may take to answer.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// Streams of one connection at a time: every session of a party is one.
const STREAMS: u32 = 4_096;

/// How long to wait after accepting has failed: most often there are no file descriptors left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How long a connection from outside may be without a request.
const IDLE: Duration = Duration::from_secs(75);

/// How long a request may be under way: nothing takes longer than an order lives, and what comes after. Whoever has not read
/// its answer by then never will.
const LONGEST: Duration = Duration::from_secs(LIFETIME + 300);

/// How long what was sent may stay unacknowledged, and how long a connection may be silent before the other end is asked.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Who is on the other end: nobody with an address, if it is this process.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Option<IpAddr>);

/// The room that a connection takes among those that there may be. Whatever outlives the connection's requests, as a
/// WebSocket does, holds it.
#[derive(Clone)]
pub struct Room(#[allow(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

/// Where connections come from.
pub trait Listener: Send + 'static {
    /// A connection that has been accepted and perhaps not established yet.
    type Accepted: Send + 'static;
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next one.
    ///
    /// # Errors
    /// When there is none this time; the next call may have one.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Accepted, Peer)>> + Send;

    /// Establishes a connection, which takes the other side's help: it must not hold up the others.
    ///
    /// # Errors
    /// When the other side does not do its part.
    fn establish(accepted: Self::Accepted) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

impl Listener for TcpListener {
    type Accepted = TcpStream;
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address): (_, SocketAddr) = Self::accept(self).await?;
        stream.set_nodelay(true)?;
        give_up_on_the_dead(&stream)?;
        Ok((stream, Peer(Some(address.ip().to_canonical()))))
    }

    async fn establish(stream: TcpStream) -> io::Result<TcpStream> {
        Ok(stream)
    }
}

/// A peer that is gone, or that takes nothing in, does not hold its connection for long.
fn give_up_on_the_dead(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, UNACKNOWLEDGED)?;
    sockopt::set_tcp_keepintvl(stream, UNACKNOWLEDGED / 3)?;
    sockopt::set_tcp_user_timeout(stream, u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

/// Accepts connections with TLS.
pub struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl TlsListener {
    /// Accepts on a port, with a certificate.
    #[must_use]
    pub fn new(listener: TcpListener, config: Arc<ServerConfig>) -> Self {
        Self { listener, acceptor: config.into() }
    }
}

impl Listener for TlsListener {
    type Accepted = (TcpStream, TlsAcceptor);
    type Io = TlsStream<TcpStream>;

    async fn accept(&mut self) -> io::Result<((TcpStream, TlsAcceptor), Peer)> {
        let (stream, peer) = Listener::accept(&mut self.listener).await?;
        Ok(((stream, self.acceptor.clone()), peer))
    }

    async fn establish((stream, acceptor): (TcpStream, TlsAcceptor)) -> io::Result<TlsStream<TcpStream>> {
        acceptor.accept(stream).await
    }
}

/// Serves until `stop`, and then for at most `grace`.
pub async fn serve<L: Listener>(mut listener: L, router: Router, stop: CancellationToken, grace: Duration) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = async {
                // The semaphore is never closed.
                let room = Arc::clone(&slots).acquire_owned().await.ok().map(|slot| Room(Arc::new(slot)));
                (listener.accept().await, room)
            } => accepted,
        };
        match accepted {
            (Ok((accepted, peer)), room) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    match tokio::time::timeout(HEADERS, L::establish(accepted)).await {
                        Ok(Ok(io)) => connection(io, (peer, room), router, stop).await,
                        Ok(Err(error)) => tracing::debug!(%error, "a connection was not established"),
                        Err(_) => tracing::debug!("a connection was not established in time"),
                    }
                });
            }
            (Err(error), _) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(grace, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "connections were still open after the grace period");
    }
}

async fn connection<Io>(io: Io, (peer, room): (Peer, Option<Room>), router: Router, stop: CancellationToken)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(grpc::STREAM_WINDOW)
        .initial_connection_window_size(grpc::CONNECTION_WINDOW)
        .max_frame_size(grpc::FRAME_BYTES);
    let activity = Arc::new(Activity::default());
    let active = Arc::clone(&activity);
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (router, active, room) = (router.clone(), Arc::clone(&active), room.clone());
        async move {
            let active = active.begin();
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            if let Some(room) = room {
                request.extensions_mut().insert(room);
            }
            let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
            // A stream is under way for as long as its answer is.
            Ok::<_, Infallible>(response.map(|body| Answer { body, _active: active }))
        }
    });
    let served = builder.serve_connection_with_upgrades(TokioIo::new(io), service);
    let mut served = std::pin::pin!(served);
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = served.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended with an error");
                }
                return;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                served.as_mut().graceful_shutdown();
            }
            // Roles keep their connections in memory for as long as they live.
            () = activity.ends(), if peer.0.is_some() => return,
        }
    }
}

/// What goes on on a connection.
#[derive(Default)]
struct Activity(Mutex<Requests>);

#[derive(Default)]
struct Requests {
    /// When those that are under way began, by their numbers.
    under_way: BTreeMap<u64, Instant>,
    /// How many there ever were.
    count: u64,
}

/// A request under way.
struct Active(Arc<Activity>, u64);

/// The body of an answer, whose request is under way until it ends.
struct Answer {
    body: Body,
    _active: Active,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl Activity {
    fn requests(&self) -> std::sync::MutexGuard<'_, Requests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>) -> Active {
        let mut requests = self.requests();
        requests.count += 1;
        let number = requests.count;
        requests.under_way.insert(number, Instant::now());
        Active(Arc::clone(self), number)
    }

    /// How many requests there were so far, when none is under way.
    fn idle_after(&self) -> Option<u64> {
        let requests = self.requests();
        requests.under_way.is_empty().then_some(requests.count)
    }

    /// Whether a request is under way for longer than any may be. They are numbered as they began.
    fn is_stuck(&self) -> bool {
        self.requests().under_way.values().next().is_some_and(|began| began.elapsed() > LONGEST)
    }

    /// Waits until the first request has not come in time, no request has been under way for long, or one for too long.
    async fn ends(&self) {
        tokio::time::sleep(HEADERS).await;
        loop {
            let before = self.idle_after();
            if before == Some(0) {
                return;
            }
            tokio::time::sleep(IDLE).await;
            if before.is_some() && self.idle_after() == before || self.is_stuck() {
                return;
            }
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.requests().under_way.remove(&self.1);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

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
            assert!(open <= HEADERS + Duration::from_secs(1), "{silent:?}: {open:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_been_answered_is_closed_when_it_is_idle() {
        let open = stays_open(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(open <= HEADERS + IDLE + IDLE, "{open:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_request_is_never_over_is_closed() {
        let open = stays_open(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(open > LONGEST && open <= LONGEST + HEADERS + 2 * IDLE, "{open:?}");
    }

    #[tokio::test]
    async fn what_outlives_its_connection_takes_its_room() {
        let held: Arc<Mutex<Vec<Room>>> = Arc::default();
        let kept = Arc::clone(&held);
        // As a WebSocket does.
        let hold = move |axum::Extension(room): axum::Extension<Room>| {
            kept.lock().unwrap().push(room);
            async { "held" }
        };
        let mut connections = connect_to(Router::new().route("/", get(hold)), CONNECTIONS + 1);
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
