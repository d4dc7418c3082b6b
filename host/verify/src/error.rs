//! Errors of this crate.

/// Why a signature is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It does not verify under the expected key: the plugin is not to be trusted.
    #[error("the signature does not verify")]
    BadSignature,
    /// The order asks for what can't be checked: an unknown scheme, an item that the scheme can't sign, a malformed digest, a path
    /// without chain code.
    #[error("the signature can't be checked: {0}")]
    NotCheckable(&'static str),
}
