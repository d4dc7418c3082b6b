//! Users' shares as callers bring them: sealed, for the users' party only.

use quorate_core::SealingKeyId;
use quorate_core::code::Code;
use quorate_core::share_grant::ShareGrant;
use quorate_net::problem::Problem;

/// A user's share, sealed with what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedShare {
    /// As it was sealed.
    pub bytes: Vec<u8>,
    /// The key that it was sealed to.
    pub sealing_key: SealingKeyId,
}

impl SealedShare {
    /// Reads a sealed share.
    ///
    /// # Errors
    /// [`Code::UserShareUnreadable`] when it is none.
    pub(crate) fn read(text: &str) -> Result<Self, Problem> {
        let problem = || {
            let detail = "user_share: give what `quorate share seal` gives, in hex";
            Problem::new(Code::UserShareUnreadable, detail)
        };
        let bytes = hex::decode(text).map_err(|_| problem())?;
        let sealing_key = ShareGrant::sealing_key(&bytes).map_err(|_| problem())?;
        Ok(Self { bytes, sealing_key })
    }
}
