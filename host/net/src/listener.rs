//! Where connections come from: TCP, TCP with TLS, memory, or a socket of another crate's.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::tls_files::TlsFiles;

/// How long what was sent may stay unacknowledged, and how long a connection may be silent before the other end is
/// asked.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(30);

/// The peer's address; none if the peer is this process.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Option<IpAddr>);

/// The room that a connection takes among those that there may be. Whatever outlives the connection's requests, as a
/// WebSocket does, holds it.
#[derive(Clone)]
pub struct ConnectionPermit(
    #[allow(dead_code, reason = "held, not read")] pub(crate) Arc<OwnedSemaphorePermit>,
);

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
        set_keepalive(&stream)?;
        Ok((stream, Peer(Some(address.ip().to_canonical()))))
    }

    async fn establish(stream: TcpStream) -> io::Result<TcpStream> {
        Ok(stream)
    }
}

/// A peer that is gone, or that takes nothing in, does not hold its connection for long.
fn set_keepalive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, UNACKNOWLEDGED_TIMEOUT)?;
    sockopt::set_tcp_keepintvl(stream, UNACKNOWLEDGED_TIMEOUT / 3)?;
    sockopt::set_tcp_user_timeout(
        stream,
        u32::try_from(UNACKNOWLEDGED_TIMEOUT.as_millis()).unwrap_or(u32::MAX),
    )?;
    Ok(())
}

/// Accepts connections with TLS, with the certificate that the process has at that moment.
pub struct TlsListener {
    listener: TcpListener,
    files: Arc<TlsFiles>,
    for_roles: bool,
}

impl TlsListener {
    /// Accepts on a port. One that is `for_roles` takes only those whom their authority has certified, if there is one.
    #[must_use]
    pub fn new(listener: TcpListener, files: Arc<TlsFiles>, for_roles: bool) -> Self {
        Self { listener, files, for_roles }
    }
}

impl Listener for TlsListener {
    type Accepted = (TcpStream, TlsAcceptor);
    type Io = TlsStream<TcpStream>;

    async fn accept(&mut self) -> io::Result<((TcpStream, TlsAcceptor), Peer)> {
        let (stream, peer) = Listener::accept(&mut self.listener).await?;
        let server = self.files.server(self.for_roles);
        let server = server.ok_or_else(|| io::Error::other("this process has no certificate"))?;
        Ok(((stream, server.into()), peer))
    }

    async fn establish((stream, acceptor): (TcpStream, TlsAcceptor)) -> io::Result<TlsStream<TcpStream>> {
        acceptor.accept(stream).await
    }
}
