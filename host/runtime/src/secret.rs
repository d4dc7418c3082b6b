//! Bytes that are wiped when the last copy goes.

use std::sync::Arc;

use zeroize::Zeroize;

/// Secret bytes on the host's side: a vault value, randomness, a message with a share in it. Wiped on drop, never
/// shown. Cloning shares the one allocation.
///
/// An `Arc`, because wasmtime lowers an `Arc<[u8]>` into guest memory as it is: a `Vec` handed to it would be freed
/// without being wiped.
pub struct SecretBytes(Arc<[u8]>);

impl SecretBytes {
    /// Takes over a secret and wipes the original.
    #[must_use]
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let secret = Self(Arc::from(bytes.as_slice()));
        bytes.zeroize();
        secret
    }

    /// The bytes, for as long as they are needed.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The allocation itself, for wasmtime to copy into a guest. Whoever drops this handle must not be the last
    /// to hold the allocation, or it is freed unwiped.
    pub(crate) fn share(&self) -> Arc<[u8]> {
        Arc::clone(&self.0)
    }
}

impl Clone for SecretBytes {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        if let Some(bytes) = Arc::get_mut(&mut self.0) {
            bytes.zeroize();
        }
    }
}

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}
