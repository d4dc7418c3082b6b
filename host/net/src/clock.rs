//! The time, as a value that tests own.

use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn millis(&self) -> u64;

    /// Seconds since 1970.
    fn seconds(&self) -> u64 {
        self.millis() / 1_000
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn millis(&self) -> u64 {
        // A clock before 1970 reads as 1970, and every order is then refused as issued in the future.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
