//! Connections over TCP, with TLS where the address says so.

use std::io;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::Channel;

use crate::grpc::endpoint;
use crate::private_networks::Unencrypted;
use crate::tls_files::TlsFiles;

/// Where a role is: `http://host:port`, or `https://host:port` for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
    tls: bool,
}

/// An address that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address of the form http://host:port or https://host:port is wanted")]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let uri: Uri = text.parse().map_err(|_| AddressError)?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(AddressError),
        };
        let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else { return Err(AddressError) };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(AddressError);
        }
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok(Self { host, port, tls })
    }
}

impl Address {
    /// Whether connections to it are protected by TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.tls
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// A channel to an address; the connection is made when it is needed, and made again when it breaks. `tls` is who we
/// are and whom we trust, for addresses with TLS; others must be within what is reached `unencrypted`.
#[must_use]
pub fn tcp_channel(address: &Address, tls: &Arc<TlsFiles>, unencrypted: &Unencrypted) -> Channel {
    let (tls, unencrypted) = (Arc::clone(tls), unencrypted.clone());
    let connector = TcpConnector { address: address.clone(), tls, unencrypted };
    endpoint().connect_with_connector_lazy(connector)
}

#[derive(Clone)]
struct TcpConnector {
    address: Address,
    tls: Arc<TlsFiles>,
    unencrypted: Unencrypted,
}

impl Service<Uri> for TcpConnector {
    type Response = TokioIo<MaybeTls>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { address, tls, unencrypted } = self.clone();
        Box::pin(async move {
            if !address.tls {
                let targets = unencrypted.resolve(&address.host, address.port).await?;
                let stream = TcpStream::connect(targets.as_slice()).await?;
                stream.set_nodelay(true)?;
                return Ok(TokioIo::new(MaybeTls::Plain(stream)));
            }
            let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(address.host).map_err(io::Error::other)?;
            let stream = TlsConnector::from(tls.client()).connect(name, stream).await?;
            Ok(TokioIo::new(MaybeTls::Tls(Box::new(stream))))
        })
    }
}

enum MaybeTls {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Plain($stream) => $call,
            Self::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for MaybeTls {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for MaybeTls {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn another_role_is_reached_without_tls_only_where_that_is_allowed() {
        use crate::private_networks::PrivateNetworks;

        let tls = TlsFiles::read(crate::tls_files::TlsPaths::default()).unwrap();
        let connect = async |address: &str, unencrypted| {
            let address = address.parse().unwrap();
            let mut connector = TcpConnector { address, tls: Arc::clone(&tls), unencrypted };
            connector
                .call(Uri::from_static("http://role"))
                .await
                .map(|_| ())
                .map_err(|error| error.to_string())
        };
        let here = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let production = Unencrypted::Within(PrivateNetworks::default());
        let refused = connect("http://192.0.2.1:1", production.clone()).await.unwrap_err();
        assert!(refused.contains("QUORATE_PRIVATE_NETWORKS"), "{refused}");
        // Nobody listens any more: it was tried.
        let tried = connect(&format!("http://{here}"), production).await.unwrap_err();
        assert!(tried.contains("refused"), "{tried}");
    }

    #[test]
    fn an_address_has_a_scheme_a_host_and_a_port() {
        for good in ["http://router:8082", "https://10.0.0.1:8082/", "http://[::1]:8082"] {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
        for bad in ["", "router:8082", "http://router", "ftp://router:1", "http://router:8082/path"] {
            assert_eq!(bad.parse::<Address>(), Err(AddressError), "{bad}");
        }
    }
}
