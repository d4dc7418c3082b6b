//! How long operations may take.

use std::time::Duration;

/// Time limits of operations. A keygen takes longer the more parties there are: every pair exchanges proofs.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// Of a signing.
    pub sign: Duration,
    /// Of a keygen or refresh, for each of its parties.
    pub shares_per_party: Duration,
}
