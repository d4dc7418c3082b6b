//! Bytes that are wiped when the last handle goes.

use std::sync::Arc;

use zeroize::{Zeroize, Zeroizing};

/// Secret bytes on the host's side: a vault value or single-use material. Wiped on drop, never shown. Cloning shares
/// the one allocation.
#[derive(Clone)]
pub struct SecretBytes(Arc<Zeroizing<Vec<u8>>>);

impl SecretBytes {
    /// Takes over a secret.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// The bytes, for as long as they are needed.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}

/// A copy of a secret on its way into a guest.
///
/// A `Vec` that a host function returns is freed by wasmtime without being wiped. An `Arc<[u8]>` is copied from and
/// dropped; as long as this value lives, that drop is not the last one, and this value's own drop wipes. Both happen
/// in the one store, so they never race.
pub(crate) struct GuestSecret(Arc<[u8]>);

impl GuestSecret {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self(Arc::from(secret))
    }

    /// The handle for wasmtime.
    pub(crate) fn handle(&self) -> Arc<[u8]> {
        Arc::clone(&self.0)
    }
}

impl Drop for GuestSecret {
    fn drop(&mut self) {
        if let Some(bytes) = Arc::get_mut(&mut self.0) {
            bytes.zeroize();
        }
    }
}
