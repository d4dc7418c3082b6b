//! The time, as a value that tests own.

use std::time::{SystemTime, UNIX_EPOCH};

use quorate_core::time::whole_millis;
use quorate_core::{UnixMillis, UnixSeconds};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The time, in milliseconds.
    fn millis(&self) -> UnixMillis;

    /// The time, in seconds.
    fn seconds(&self) -> UnixSeconds {
        self.millis().seconds()
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn millis(&self) -> UnixMillis {
        // A clock before 1970 reads as 1970, and every order is then refused as issued in the future.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(whole_millis(since))
    }
}
