//! How messages and stored values become bytes: postcard, and nothing may be left over.

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::Failure;

/// Encodes a value. The bytes are wiped when dropped.
///
/// # Errors
/// [`Failure::Internal`] when the type has no encoding, which is a bug of the plugin.
pub fn encode<T: Serialize>(value: &T) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // Measured first, so that no growing buffer leaves copies of a secret behind.
    let size = postcard::experimental::serialized_size(value)
        .map_err(|e| Failure::Internal(format!("encoding: {e}").into()))?;
    let mut bytes = Zeroizing::new(vec![0; size]);
    let used = postcard::to_slice(value, &mut bytes)
        .map_err(|e| Failure::Internal(format!("encoding: {e}").into()))?
        .len();
    bytes.truncate(used);
    Ok(bytes)
}

/// Decodes a value that takes up all of `bytes`; `None` otherwise.
#[must_use]
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}
