//! Stands in for the crate of this name, which reads PKCS #12 files.
//!
//! RabbitMQ's client (lapin, through tcp-stream) names that crate whenever it is built with TLS, and calls it only for
//! a client certificate in a PKCS #12 file. Quorate never gives it one. The crate would add thirty others to every
//! build: outdated ciphers, and two readers of X.509 certificates.

/// A PKCS #12 file; there is none.
#[derive(Debug)]
pub enum KeyStore {}

/// A private key and its certificates; there is none.
#[derive(Debug)]
pub enum PrivateKeyChain {}

/// A certificate; there is none.
#[derive(Debug)]
pub enum Certificate {}

/// PKCS #12 files are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("client certificates in PKCS #12 files are not supported: give them in PEM")]
pub struct NotSupported;

impl KeyStore {
    /// Refuses every file.
    ///
    /// # Errors
    /// [`NotSupported`], always.
    pub fn from_pkcs12(_file: &[u8], _password: &str) -> Result<Self, NotSupported> {
        Err(NotSupported)
    }

    /// The private key of a file, by its name.
    #[must_use]
    pub fn private_key_chain(&self) -> Option<(&str, &PrivateKeyChain)> {
        match *self {}
    }
}

impl PrivateKeyChain {
    /// The certificates.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        match *self {}
    }

    /// The key in PKCS #8.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match *self {}
    }
}

impl Certificate {
    /// The certificate in DER.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_refused() {
        assert_eq!(KeyStore::from_pkcs12(&[0x30, 0], "").unwrap_err(), NotSupported);
    }
}
