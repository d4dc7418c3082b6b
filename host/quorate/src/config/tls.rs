//! TLS between roles and towards callers.

use std::path::PathBuf;

use quorate_net::tls::TlsIdentity;
use quorate_net::tls_files::TlsPaths;

use super::ConfigError;
use super::read::Variables;

/// TLS. Without a certificate all is plain.
#[derive(Debug, Default)]
pub struct TlsConfig {
    /// `TLS_CERT_FILE` and `TLS_KEY_FILE`: the certificate of this process and its key, in PEM. With them it serves
    /// TLS only, and shows them to other roles. `TLS_CLIENT_CA_FILE`: coordinators, routers and the gRPC port of party APIs accept
    /// only clients that this authority has certified. `TLS_CA_FILE`: the authority whose certificates of other roles are
    /// accepted. All are read again when they change.
    pub files: TlsPaths,
}

impl TlsConfig {
    pub(super) fn read(variables: &mut Variables) -> Result<Self, ConfigError> {
        let path = |variables: &mut Variables, name| variables.take(name).map(PathBuf::from);
        let (certificate, key) = (path(variables, "TLS_CERT_FILE"), path(variables, "TLS_KEY_FILE"));
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(TlsIdentity { certificate, key }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(ConfigError::Missing { name: "TLS_KEY_FILE", by: "TLS_CERT_FILE" });
            }
            (None, Some(_)) => {
                return Err(ConfigError::Missing { name: "TLS_CERT_FILE", by: "TLS_KEY_FILE" });
            }
        };
        let clients = path(variables, "TLS_CLIENT_CA_FILE");
        if clients.is_some() && identity.is_none() {
            return Err(ConfigError::Missing { name: "TLS_CERT_FILE", by: "TLS_CLIENT_CA_FILE" });
        }
        let authority = path(variables, "TLS_CA_FILE");
        Ok(Self { files: TlsPaths { identity, clients, authority } })
    }
}
