//! The certificates of a process. They are read anew when their files change: certificates live for weeks, and processes too.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use quorate_core::UnixSeconds;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};
use sha2::{Digest, Sha256};
use tokio::time::{MissedTickBehavior, interval};
use x509_parser::parse_x509_certificate;

use crate::clock::Clock;
use crate::telemetry::chain;
use crate::tls::{self, TlsError, TlsIdentity};

/// How often the files are looked at.
const FILES_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// How long before its end a certificate is pointed out.
const EXPIRY_WARNING_PERIOD: Duration = Duration::from_secs(30 * 86_400);

/// How often it is pointed out.
const EXPIRY_WARNING_INTERVAL: Duration = Duration::from_secs(86_400);

/// Which files.
#[derive(Clone, Debug, Default)]
pub struct TlsPaths {
    /// This process's own certificate and key.
    pub identity: Option<TlsIdentity>,
    /// The authority of clients: ports for roles let in only those that it has certified.
    pub clients: Option<PathBuf>,
    /// The authority of other roles.
    pub authority: Option<PathBuf>,
}

/// The certificates of a process, as its files were when they were last good.
pub struct TlsFiles {
    paths: TlsPaths,
    current: RwLock<Current>,
}

/// What was made of the files.
struct Current {
    /// Of the bytes of all files.
    digest: [u8; 32],
    /// Towards anybody, and towards roles only.
    servers: Option<[Arc<ServerConfig>; 2]>,
    client: Arc<ClientConfig>,
    /// When the first certificate of each file ends.
    expiries: Vec<(PathBuf, UnixSeconds)>,
}

impl TlsPaths {
    fn all(&self) -> impl Iterator<Item = &Path> {
        let own = self.identity.iter().flat_map(|identity| [&identity.certificate, &identity.key]);
        own.chain(&self.clients).chain(&self.authority).map(PathBuf::as_path)
    }

    /// A hash of all files; one that can't be read counts as empty.
    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for path in self.all() {
            hash.update(Sha256::digest(zeroize::Zeroizing::new(std::fs::read(path).unwrap_or_default())));
        }
        hash.finalize().into()
    }

    fn read(&self) -> Result<Current, TlsError> {
        // Before the files: a change in between is found with the next look.
        let digest = self.digest();
        let servers = match &self.identity {
            None => None,
            Some(own) => Some([tls::server(own, None)?, tls::server(own, self.clients.as_deref())?]),
        };
        let client = tls::client(self.authority.as_deref(), self.identity.as_ref())?;
        let certificates = self.identity.iter().map(|own| &own.certificate);
        let mut expiries = Vec::new();
        for path in certificates.chain(&self.clients).chain(&self.authority) {
            let first = tls::certificates(path)?.iter().map(end_of).min().unwrap_or(UnixSeconds(0));
            expiries.push((path.clone(), first));
        }
        Ok(Current { digest, servers, client, expiries })
    }
}

/// When a certificate ends; 0 for one that can't be read.
fn end_of(certificate: &CertificateDer<'_>) -> UnixSeconds {
    let end = parse_x509_certificate(certificate).map(|(_, parsed)| parsed.validity().not_after.timestamp());
    UnixSeconds(end.ok().and_then(|end| u64::try_from(end).ok()).unwrap_or(0))
}

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn read(paths: TlsPaths) -> Result<Arc<Self>, TlsError> {
        let current = RwLock::new(paths.read()?);
        Ok(Arc::new(Self { paths, current }))
    }

    /// Whether this process has a certificate.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        self.paths.identity.is_some()
    }

    /// How this process serves now; `None` without a certificate.
    pub(crate) fn server(&self, for_roles: bool) -> Option<Arc<ServerConfig>> {
        self.current.read().servers.as_ref().map(|servers| Arc::clone(&servers[usize::from(for_roles)]))
    }

    /// How this process calls other roles now.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.current.read().client)
    }

    /// Reads the files again, if they have changed; those that were good before stay when they are not good now. Says whether
    /// there was anything new.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn reload(&self) -> Result<bool, TlsError> {
        if self.paths.digest() == self.current.read().digest {
            return Ok(false);
        }
        let read = self.paths.read()?;
        *self.current.write() = read;
        tracing::info!("the TLS certificates were read again");
        Ok(true)
    }

    /// Reads the files again whenever they change, and points out certificates that are about to end, until it is dropped.
    pub async fn watch(self: Arc<Self>, clock: Arc<dyn Clock>) {
        if self.paths.all().next().is_none() {
            return;
        }
        let mut tick = interval(FILES_CHECK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut warned, mut failed) = (None, None);
        loop {
            tick.tick().await;
            match self.reload() {
                Ok(true) => (warned, failed) = (None, None),
                Ok(false) => failed = None,
                // Once for each state of the files: they may be half written.
                Err(error) => {
                    let digest = Some(self.paths.digest());
                    if failed != digest {
                        tracing::error!(error = %chain(&error), "the TLS certificates have changed and can't be used: those from before stay");
                        failed = digest;
                    }
                }
            }
            let now = clock.seconds();
            if warned.is_none_or(|at: UnixSeconds| now >= at + EXPIRY_WARNING_INTERVAL) {
                self.warn_of_expiring(now);
                warned = Some(now);
            }
        }
    }

    /// The files with a certificate that ends within [`EXPIRY_WARNING_PERIOD`], and what is left of its time.
    fn expiring(&self, now: UnixSeconds) -> Vec<(PathBuf, Duration)> {
        let soon = |(_, end): &&(PathBuf, UnixSeconds)| *end <= now + EXPIRY_WARNING_PERIOD;
        let expiries = &self.current.read().expiries;
        expiries.iter().filter(soon).map(|(path, end)| (path.clone(), end.since(now))).collect()
    }

    fn warn_of_expiring(&self, now: UnixSeconds) {
        for (path, left) in self.expiring(now) {
            let (file, days) = (path.display(), left.as_secs() / 86_400);
            if left.is_zero() {
                tracing::error!(%file, "a TLS certificate has ended: put a new one there, it is read at once");
            } else {
                tracing::warn!(%file, days, "a TLS certificate ends soon: put a new one there, it is read at once");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// Writes a certificate that signs itself and ends with a year, and its key.
    fn write(identity: &TlsIdentity, year: i32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        std::fs::write(&identity.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&identity.key, key.serialize_pem()).unwrap();
    }

    #[test]
    fn new_files_are_used_and_bad_ones_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let identity = TlsIdentity { certificate: file("cert.pem"), key: file("key.pem") };
        write(&identity, 2040);
        let authority = Some(identity.certificate.clone());
        let paths = TlsPaths { identity: Some(identity.clone()), clients: authority.clone(), authority };
        let files = TlsFiles::read(paths).unwrap();
        let now = || (files.server(true).unwrap(), files.server(false).unwrap(), files.client());
        let is_same = |a: &(Arc<ServerConfig>, Arc<ServerConfig>, Arc<ClientConfig>)| {
            let b = now();
            Arc::ptr_eq(&a.0, &b.0) && Arc::ptr_eq(&a.1, &b.1) && Arc::ptr_eq(&a.2, &b.2)
        };
        let first = now();
        assert_eq!(files.current.read().expiries.first().unwrap().1, UnixSeconds(2_208_988_800));
        assert!(!files.reload().unwrap());
        assert!(is_same(&first));
        // Its certificate is the authority of both sides too.
        let days = |before: u64| {
            let at = UnixSeconds(2_208_988_800 - before * 86_400);
            files.expiring(at).iter().map(|(_, left)| left.as_secs() / 86_400).collect::<Vec<_>>()
        };
        assert_eq!((days(31), days(30), days(0)), (vec![], vec![30; 3], vec![0; 3]));
        // A key of another certificate, half a file, no file.
        let key = std::fs::read(&identity.key).unwrap();
        for bad in
            [Some(KeyPair::generate().unwrap().serialize_pem().into_bytes()), Some(key[..40].to_vec()), None]
        {
            match bad {
                Some(bytes) => std::fs::write(&identity.key, bytes).unwrap(),
                None => std::fs::remove_file(&identity.key).unwrap(),
            }
            assert!(files.reload().is_err());
            assert!(is_same(&first), "what is bad is used");
        }
        let others_write = |file: &PathBuf, yes| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(if yes { 0o620 } else { 0o600 });
            std::fs::set_permissions(file, mode).unwrap();
        };
        write(&identity, 2041);
        for file in [&identity.key, &identity.certificate] {
            others_write(file, true);
            assert!(files.reload().is_err(), "a file that others can write is used");
            others_write(file, false);
        }
        assert!(files.reload().unwrap());
        assert!(!is_same(&first), "what is new is not used");
        assert_eq!(files.current.read().expiries.first().unwrap().1, UnixSeconds(2_240_611_200));
    }
}
