//! Where a role listens, with or without TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quorate_net::listener::TlsListener;
use quorate_net::replicas::Replicas;
use quorate_net::server::{Callers, serve};
use quorate_net::tcp::{Address, tcp_channel};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::error::{ListenError, StartError};

/// Connections at a time that wait to be accepted.
const MAX_PENDING_CONNECTIONS: u32 = 1_024;

/// A bound port, and those for whom it is meant.
pub(super) struct Port(Socket, Callers);

enum Socket {
    Plain(TcpListener),
    Tls(TlsListener),
}

impl Context<'_> {
    pub(super) async fn listen(&self, address: SocketAddr, callers: Callers) -> Result<Port, StartError> {
        let failed = |source| ListenError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let socket = if self.certificates.has_identity() {
            let files = Arc::clone(&self.certificates);
            Socket::Tls(TlsListener::new(listener, files, callers == Callers::Roles))
        } else {
            Socket::Plain(listener)
        };
        Ok(Port(socket, callers))
    }

    /// The way to all replicas of a role.
    pub(super) fn replicas(&self, addresses: &[Address]) -> Replicas {
        let channel = |address| tcp_channel(address, &self.certificates, &self.config.services.unencrypted);
        Replicas::new(addresses.iter().map(channel).collect())
    }
}

impl Port {
    pub(super) async fn serve(self, router: axum::Router, stop: CancellationToken, grace: Duration) {
        let Self(socket, callers) = self;
        match socket {
            Socket::Plain(listener) => serve(listener, router, callers, stop, grace).await,
            Socket::Tls(listener) => serve(listener, router, callers, stop, grace).await,
        }
    }
}

/// Reserves a port. Callers can't connect to it yet: a request would wait there, and be carried out although its caller
/// has given up.
pub(super) fn reserve(address: SocketAddr) -> Result<ReservedPort, ListenError> {
    let failed = |source| ListenError { address, source };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(failed)?;
    socket.set_reuseaddr(true).and_then(|()| socket.bind(address)).map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    Ok(ReservedPort { socket, address })
}

pub(super) struct ReservedPort {
    socket: TcpSocket,
    pub(super) address: SocketAddr,
}

impl ReservedPort {
    /// Lets callers connect.
    pub(super) fn listen(self) -> Result<TcpListener, ListenError> {
        let address = self.address;
        let listener = self.socket.listen(MAX_PENDING_CONNECTIONS);
        listener.map_err(|source| ListenError { address, source })
    }
}
