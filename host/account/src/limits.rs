//! How long operations may take.

use std::time::Duration;

use quorate_core::Threshold;

/// Time limits of operations. A keygen takes longer the more parties there are: every pair exchanges proofs.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// The limit of a signing.
    pub sign: Duration,
    /// The limit of a keygen or refresh, for each of its parties.
    pub shares_per_party: Duration,
}

impl TimeLimits {
    /// The limit of a keygen or refresh with this many parties.
    pub(crate) fn shares(&self, parties: u16) -> Duration {
        self.shares_per_party * u32::from(parties)
    }

    /// The limit of making presignatures: whatever a caller waits for goes first.
    pub(crate) fn presign(&self) -> Duration {
        3 * self.sign
    }

    /// The longest limit of all operations.
    pub(crate) fn max(&self) -> Duration {
        self.shares(Threshold::MAX_PARTIES).max(self.sign)
    }
}
