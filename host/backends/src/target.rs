//! Where a service is, as a process reaches it.

/// The host and port of a service, and how it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceTarget<'a> {
    /// Its name or address.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// Whether the connection has TLS, with a certificate that is verified for this host.
    pub has_verified_tls: bool,
}
