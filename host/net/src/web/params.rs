//! Parameters of requests that several HTTP interfaces take, read from what callers wrote.

use quorate_core::code::Code;
use quorate_core::sealed_box::RecipientKey;
use quorate_core::{AccountId, SessionId};

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

/// Reads a sealed share.
///
/// # Errors
/// [`Code::UserShareUnreadable`] when it is not hexadecimal.
pub fn sealed(text: &str) -> Result<Vec<u8>, Problem> {
    let problem = |_| {
        Problem::new(Code::UserShareUnreadable, "user_share: give what `quorate share seal` gives, in hex")
    };
    hex::decode(text).map_err(problem)
}
