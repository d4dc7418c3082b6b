//! The operator's socket: the kernel names the user on the other end.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use quorate_net::listener::{Listener, Peer};
use tokio::net::{UnixListener, UnixStream};
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Why there is no socket: the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process has it.
    #[error("{0}: another process listens on this socket: give each its own QUORATE_ADMIN_SOCKET")]
    Taken(PathBuf),
    /// The file system refuses.
    #[error("{0}: the socket can't be used")]
    Io(PathBuf, #[source] io::Error),
}

/// A socket that only its owner, and root, can use. Its file goes with it.
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    owner: u32,
}

impl UnixSocket {
    /// Listens on a path. What a dead process has left there is replaced.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub async fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |error| SocketError::Io(path.to_owned(), error);
        if UnixStream::connect(path).await.is_ok() {
            return Err(SocketError::Taken(path.to_owned()));
        }
        if std::fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket()) {
            std::fs::remove_file(path).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).map_err(failed)?);
        Ok(Self { listener, path: path.to_owned(), owner })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Listener for UnixSocket {
    type Accepted = (UnixStream, u32);
    type Io = UnixStream;

    async fn accept(&mut self) -> io::Result<((UnixStream, u32), Peer)> {
        let (stream, _) = self.listener.accept().await?;
        Ok(((stream, self.owner), Peer(None)))
    }

    async fn establish((stream, owner): (UnixStream, u32)) -> io::Result<UnixStream> {
        let caller = stream.peer_cred()?;
        if caller.uid() != owner && caller.uid() != 0 {
            tracing::warn!(
                uid = caller.uid(),
                "refused a connection to the admin socket: it is another user's"
            );
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        tracing::info!(uid = caller.uid(), pid = caller.pid(), "operator connected to the admin socket");
        Ok(stream)
    }
}

/// A channel to the process that listens on a path.
///
/// # Errors
/// When no party listens there, or it refuses this user.
pub async fn connect(path: &Path) -> Result<Channel, tonic::transport::Error> {
    let path = path.to_owned();
    // The address is not used: a connector leads to one place.
    let endpoint = Endpoint::from_static("http://party");
    endpoint
        .connect_with_connector(service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await
}
