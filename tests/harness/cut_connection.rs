//! A connection that a test can cut. Until then it forwards everything to its target.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to a target, for as long as it lives.
pub struct Wire {
    address: SocketAddr,
    cuts: watch::Sender<u64>,
}

impl Wire {
    /// A wire to a target that need not be there yet.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, (cuts, cut)) = (listener.local_addr().unwrap(), watch::channel(0));
        tokio::spawn(async move {
            let mut dropped = cut.clone();
            // Ends with the wire.
            while let Some(Ok((stream, _))) = tokio::select! {
                accepted = listener.accept() => Some(accepted),
                () = async { while dropped.changed().await.is_ok() {} } => None,
            } {
                tokio::spawn(forward(stream, target, cut.clone()));
            }
        });
        Self { address, cuts }
    }

    /// Where to connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks all connections. New ones can be made at once.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn forward(mut from: TcpStream, target: SocketAddr, mut cut: watch::Receiver<u64>) {
    cut.mark_unchanged();
    let Ok(mut to) = TcpStream::connect(target).await else { return };
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
        _ = cut.changed() => {}
    }
}
