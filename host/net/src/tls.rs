//! TLS by configuration: who we are and whom we trust. Servers that are given an authority of clients let in only those
//! that it has certified (mutual TLS).

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The protocols that we speak over TLS, best first.
const ALPN_PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct TlsIdentity {
    /// The certificates, ours first, in PEM.
    pub certificate: PathBuf,
    /// The private key, in PEM.
    pub key: PathBuf,
}

/// Why TLS can't be used: the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not what it should be.
    #[error("{0}: this is not a {1} in PEM, or it can't be read")]
    File(PathBuf, &'static str),
    /// Others can put another key or authority there.
    #[error("{0}: others can write to this file: take that from them (chmod go-w)")]
    WritableByOthers(PathBuf),
    /// Certificate and key do not fit, or are not acceptable.
    #[error("the TLS certificates can't be used")]
    Rejected(#[source] rustls::Error),
    /// The authority of clients can't be used.
    #[error("{0}: clients can't be verified with this")]
    Clients(PathBuf),
}

/// Makes the cryptography that all TLS connections of this process use the default one.
pub fn install() {
    // It fails when it is there already.
    let _ = ring::default_provider().install_default();
}

/// How we serve: with this identity, and if `clients` is given only those whom it has certified.
///
/// # Errors
/// See [`TlsError`].
pub fn server(identity: &TlsIdentity, clients: Option<&Path>) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Rejected)?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots(path)?),
                Arc::new(ring::default_provider()),
            );
            let verifier = verifier.build().map_err(|_| TlsError::Clients(path.to_owned()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (certificates, key) = read(identity)?;
    let mut config = builder.with_single_cert(certificates, key).map_err(TlsError::Rejected)?;
    config.alpn_protocols = ALPN_PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

/// How roles call each other: trusting certificates of `authority` only, with an identity of their own if there is one.
///
/// # Errors
/// See [`TlsError`].
pub fn client(
    authority: Option<&Path>,
    identity: Option<&TlsIdentity>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Rejected)?;
    let builder = builder.with_root_certificates(authority.map_or(Ok(RootCertStore::empty()), roots)?);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (certificates, key) = read(identity)?;
            builder.with_client_auth_cert(certificates, key).map_err(TlsError::Rejected)?
        }
    };
    // Roles speak gRPC with each other.
    config.alpn_protocols = vec![ALPN_PROTOCOLS[0].to_vec()];
    Ok(Arc::new(config))
}

/// A connection to a role on this machine, whatever certificate it shows: nothing secret is sent, and the process may have another
/// one than is in the files at this moment. It is shown the certificate of this identity, if that can be read.
///
/// # Errors
/// When the other end does not establish TLS.
pub async fn connect_to_self(
    identity: &TlsIdentity,
    stream: TcpStream,
) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(ring::default_provider());
    let any = AnyCertificateVerifier { algorithms: provider.signature_verification_algorithms };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(std::io::Error::other)?.dangerous();
    let builder = builder.with_custom_certificate_verifier(Arc::new(any));
    let config = match read(identity) {
        Ok((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(std::io::Error::other)?,
        Err(_) => builder.with_no_client_auth(),
    };
    let name = ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Takes any certificate whose key the other end has.
#[derive(Debug)]
struct AnyCertificateVerifier {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyCertificateVerifier {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    check_mode(path)?;
    let wrong = || TlsError::File(path.to_owned(), "certificate");
    let read = CertificateDer::pem_file_iter(path).map_err(|_| wrong())?;
    let certificates: Vec<_> = read.collect::<Result<_, _>>().map_err(|_| wrong())?;
    if certificates.is_empty() { Err(wrong()) } else { Ok(certificates) }
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(TlsError::Rejected)?;
    }
    Ok(roots)
}

/// What others can write is not trusted. A file that is not there is found out when it is read.
fn check_mode(path: &Path) -> Result<(), TlsError> {
    let others_write = |metadata: std::fs::Metadata| metadata.mode() & 0o022 != 0;
    if std::fs::metadata(path).is_ok_and(others_write) {
        return Err(TlsError::WritableByOthers(path.to_owned()));
    }
    Ok(())
}

type Chain = Vec<CertificateDer<'static>>;

fn read(identity: &TlsIdentity) -> Result<(Chain, PrivateKeyDer<'static>), TlsError> {
    check_mode(&identity.key)?;
    let key = PrivateKeyDer::from_pem_file(&identity.key);
    let key = key.map_err(|_| TlsError::File(identity.key.clone(), "private key"))?;
    Ok((certificates(&identity.certificate)?, key))
}
