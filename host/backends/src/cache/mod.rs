//! The cache: rate-limit counters, the fast path of idempotency keys, status, presence. Anything in it may be gone at
//! any time: what must not be lost is in the store.

mod memory;
mod redis;

#[cfg(test)]
mod conformance;

use std::time::Duration;

use async_trait::async_trait;

pub use self::redis::{RedisAddress, RedisAddressError, RedisCache};
pub use memory::MemoryCache;

/// The longest value: a status, an answer. Larger ones are not kept.
pub const MAX_VALUE_BYTES: usize = 64 << 10;

/// The cache can't be reached. Go on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cache does not answer")]
pub struct CacheUnavailable;

/// Keeps values for a while, perhaps.
#[async_trait]
pub trait Cache: Send + Sync {
    /// A value, if it is still there.
    ///
    /// # Errors
    /// When the cache can't be reached; the same holds for all calls.
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, CacheUnavailable>;

    /// Keeps a value, and replaces what had its name. A value longer than [`MAX_VALUE_BYTES`] is not kept, and what
    /// had its name is gone.
    #[allow(clippy::missing_errors_doc)]
    async fn set(&self, name: &str, value: Vec<u8>, time_to_live: Duration) -> Result<(), CacheUnavailable>;

    /// Forgets a value.
    #[allow(clippy::missing_errors_doc)]
    async fn remove(&self, name: &str) -> Result<(), CacheUnavailable>;

    /// Counts one more and says how many there are now. The first count sets the time after which counting starts
    /// anew; later ones leave it.
    #[allow(clippy::missing_errors_doc)]
    async fn count(&self, name: &str, time_to_live: Duration) -> Result<u64, CacheUnavailable>;

    /// Whether the cache can be reached.
    #[allow(clippy::missing_errors_doc)]
    async fn ping(&self) -> Result<(), CacheUnavailable>;
}
