//! Parameters of requests that several HTTP interfaces take, read from what callers wrote.

use quorate_core::code::Code;
use quorate_core::sealed_box::RecipientKey;
use quorate_core::share_claim::ShareClaim;
use quorate_core::{AccountId, SessionId};
use zeroize::Zeroizing;

use crate::problem::Problem;

/// Reads an account id.
///
/// # Errors
/// [`Code::InvalidId`] when it is not a UUID.
pub fn account_id(text: &str) -> Result<AccountId, Problem> {
    text.parse().map_err(|_| Problem::new(Code::InvalidId, "the account id is not a UUID"))
}

/// Reads a session id.
///
/// # Errors
/// [`Code::InvalidId`] when it is not 64 hexadecimal characters.
pub fn session_id(text: &str) -> Result<SessionId, Problem> {
    text.parse().map_err(|_| Problem::new(Code::InvalidId, "a session id is 64 hex characters"))
}

/// Reads the X25519 key that a share is to be sealed to.
///
/// # Errors
/// [`Code::InvalidRecipientKey`] when it is not 64 hexadecimal characters, or a point of small order.
pub fn recipient_key(text: &str) -> Result<[u8; 32], Problem> {
    let problem =
        || Problem::new(Code::InvalidRecipientKey, "recipient_key: give an X25519 key, 64 hex characters");
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key).map_err(|_| problem())?;
    // Points of small order give no secret: sealing to one fails, and is better refused at once.
    RecipientKey::is_valid(&key).then_some(key).ok_or_else(problem)
}

/// Reads the hash of the claim to a new share.
///
/// # Errors
/// [`Code::InvalidClaim`] when it is not 64 hexadecimal characters.
pub fn claim_hash(text: &str) -> Result<[u8; 32], Problem> {
    let mut hash = [0; 32];
    let problem = |_| {
        let detail = "claim_hash: give SHA-256 of a claim of 32 random bytes, 64 hex characters; `quorate share new-claim` makes both";
        Problem::new(Code::InvalidClaim, detail)
    };
    hex::decode_to_slice(text, &mut hash).map_err(problem)?;
    Ok(hash)
}

/// Reads the claim to a new share.
///
/// # Errors
/// [`Code::InvalidClaim`] when it is not 64 hexadecimal characters. The error does not repeat it.
pub fn share_claim(text: &str) -> Result<ShareClaim, Problem> {
    let mut claim = Zeroizing::new([0; 32]);
    let problem =
        |_| Problem::new(Code::InvalidClaim, "claim: give the claim to the share, 64 hex characters");
    hex::decode_to_slice(text, claim.as_mut_slice()).map_err(problem)?;
    Ok(ShareClaim::new(claim))
}
