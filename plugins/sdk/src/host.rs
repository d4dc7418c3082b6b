//! The functions of the host that a plugin may call.

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{Failure, decode, encode};

/// How far a vault entry reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// This key and epoch.
    Key,
    /// This group of parties, whatever the key.
    Group,
    /// This party.
    Party,
}

/// Why the vault refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaultError {
    /// A name is 1 to 64 characters of a-z, 0-9, `.`, `_`, `-`.
    InvalidName,
    /// Too large, or the quota of the scope is used up.
    Quota,
    /// The store did not answer; nothing was changed.
    Unavailable,
    /// Not in a session with this task.
    Denied,
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        Self::Internal(format!("vault: {error:?}").into())
    }
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// The capabilities that every plugin may count on: `vault` and `log`. The third, `entropy`, is reached by protocol
/// libraries through the `getrandom` crate. Those that an operator grants on top are free functions
/// ([`optional`](crate::optional)): a plugin that does not call them does not import them.
pub trait Host {
    /// Reads an entry.
    ///
    /// # Errors
    /// See [`VaultError`]; the same holds for all vault calls.
    fn vault_get(&self, scope: Scope, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError>;
    /// Stages an entry, to be committed with the session's outcome.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn vault_put(&mut self, scope: Scope, name: &str, value: &[u8]) -> Result<(), VaultError>;
    /// Takes single-use material: it is durably gone before it is returned.
    #[allow(clippy::missing_errors_doc)]
    fn vault_take(&mut self, scope: Scope, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError>;
    /// Puts single-use material into the pool, with the session's outcome.
    #[allow(clippy::missing_errors_doc)]
    fn vault_stock(&mut self, scope: Scope, name: &str, value: &[u8]) -> Result<(), VaultError>;
    /// Names that start with `prefix`, ascending, at most `limit`.
    #[allow(clippy::missing_errors_doc)]
    fn vault_list(&self, scope: Scope, prefix: &str, limit: u16) -> Result<Vec<String>, VaultError>;
    /// Logs. `message` is dropped in production, `code` stays.
    fn log(&mut self, level: Level, code: u16, message: &str);
}

/// Reads and decodes an entry that must be there.
///
/// # Errors
/// [`Failure::InvalidShare`] when it is missing or does not decode.
pub fn load<T: DeserializeOwned>(host: &dyn Host, scope: Scope, name: &str) -> Result<T, Failure> {
    let bytes = host
        .vault_get(scope, name)?
        .ok_or_else(|| Failure::InvalidShare(format!("the vault has no `{name}`").into()))?;
    decode(&bytes).ok_or_else(|| Failure::InvalidShare(format!("`{name}` does not decode").into()))
}

/// Encodes and stages an entry.
///
/// # Errors
/// [`Failure::Internal`] when the vault refuses.
pub fn save<T: Serialize>(host: &mut dyn Host, scope: Scope, name: &str, value: &T) -> Result<(), Failure> {
    let bytes = encode(value)?;
    Ok(host.vault_put(scope, name, &bytes)?)
}
