//! Connections in memory: a connector that opens a new pair of pipes for every connect, so that reconnecting works as
//! it does over a network.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::Channel;

use crate::grpc::endpoint;
use crate::listener::{Listener, Peer};

/// Bytes that wait in a pipe.
const PIPE_BYTES: usize = 1 << 20;

/// Connections that wait to be accepted.
const MAX_PENDING_CONNECTIONS: usize = 64;

/// Both ends of a way to connect.
#[must_use]
pub fn in_memory() -> (MemoryListener, MemoryConnector) {
    let (sender, receiver) = mpsc::channel(MAX_PENDING_CONNECTIONS);
    (MemoryListener(receiver), MemoryConnector(sender))
}

/// Accepts connections.
pub struct MemoryListener(mpsc::Receiver<DuplexStream>);

/// Opens connections.
#[derive(Clone)]
pub struct MemoryConnector(mpsc::Sender<DuplexStream>);

impl Listener for MemoryListener {
    type Accepted = DuplexStream;
    type Io = DuplexStream;

    async fn establish(stream: DuplexStream) -> io::Result<DuplexStream> {
        Ok(stream)
    }

    async fn accept(&mut self) -> io::Result<(DuplexStream, Peer)> {
        match self.0.recv().await {
            Some(stream) => Ok((stream, Peer(None))),
            // All connectors are gone.
            None => std::future::pending().await,
        }
    }
}

impl Service<Uri> for MemoryConnector {
    type Response = TokioIo<DuplexStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let sender = self.0.clone();
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            let closed =
                |_| io::Error::new(io::ErrorKind::ConnectionRefused, "the in-memory listener is closed");
            sender.send(theirs).await.map_err(closed)?;
            Ok(TokioIo::new(ours))
        })
    }
}

/// A channel over connections that the connector makes; the first is made when it is needed.
#[must_use]
pub fn channel(connector: MemoryConnector) -> Channel {
    endpoint().connect_with_connector_lazy(connector)
}
