//! The requests of callers, parsed and validated.

use quorate_control_store::Account;
use quorate_core::code::Code;
use quorate_core::codec::Bytes;
use quorate_core::order::{HashFunction, SignItem, SignItems};
use quorate_core::share_grant::NewShareTerms;
use quorate_core::{PartyIndex, Threshold};
use quorate_net::problem::Problem;

use super::UserShareOptions;
use super::sealed_share::SealedShare;

/// The longest user id, in bytes.
const MAX_USER_ID_BYTES: usize = 256;

/// The longest message, in bytes: what fits a body of 64 KiB as hex.
const MAX_SIGNED_MESSAGE_BYTES: usize = 32 << 10;

/// The deepest derivation path. BIP-44 uses five; each level costs every party two curve operations.
const MAX_PATH_STEPS: usize = 16;

/// A new account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    /// The user, in the caller's words.
    pub user_id: String,
    /// The scheme; [`super::DEFAULT_SCHEME`] if there is none.
    pub scheme: Option<String>,
    /// The protocol; whichever the parties have for the scheme if there is none.
    pub protocol: Option<String>,
    /// t of n; 2 of 3 if there is none.
    pub threshold: Option<Threshold>,
    /// Whether a user keeps a share, and how.
    pub user: Option<UserShareOptions>,
}

/// Reads a threshold.
///
/// # Errors
/// [`Code::InvalidThreshold`].
pub(crate) fn read_threshold(t: u16, n: u16) -> Result<Threshold, Problem> {
    Threshold::new(t, n)
        .map_err(|e| Problem::new(Code::InvalidThreshold, format!("threshold: {e}; 2 <= t <= n <= 16")))
}

impl Creation {
    /// Reads a request for an account with the usual threshold, of which no user keeps a share.
    ///
    /// # Errors
    /// [`Code::InvalidUserId`].
    pub fn read(user_id: String, scheme: Option<String>, protocol: Option<String>) -> Result<Self, Problem> {
        if user_id.trim().is_empty()
            || user_id.len() > MAX_USER_ID_BYTES
            || user_id.chars().any(char::is_control)
        {
            let detail =
                format!("user_id: give 1 to {MAX_USER_ID_BYTES} bytes of text without control characters");
            return Err(Problem::new(Code::InvalidUserId, detail));
        }
        Ok(Self { user_id, scheme, protocol, threshold: None, user: None })
    }
}

/// A signature that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignRequest {
    /// The messages to sign.
    pub items: SignItems,
    /// Which parties should sign; empty: any.
    pub signers: Vec<PartyIndex>,
    /// The user's share, sealed with what it is for.
    pub user_share: Option<SealedShare>,
}

impl SignRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// [`Code::InvalidMessage`], [`Code::UnknownHash`], [`Code::InvalidPath`] or [`Code::InvalidSigners`].
    pub fn read(
        message: &str,
        hash: Option<&str>,
        path: Option<&str>,
        signers: Option<&[u16]>,
    ) -> Result<Self, Problem> {
        let hash = hash.map_or(Ok(HashFunction::None), hash_function)?;
        let message = read_message(message, hash)?;
        let path = path.map_or(Ok(vec![]), read_path)?;
        let signers = signers.unwrap_or_default().iter().map(|&index| PartyIndex::try_from(index));
        let signers = signers.collect::<Result<_, _>>();
        let signers =
            signers.map_err(|_| Problem::new(Code::InvalidSigners, "signers: indices begin at 1"))?;
        let item = SignItem { message: Bytes(message), hash, path, tweak: None, presignatures: false };
        Ok(Self { items: item.into(), signers, user_share: None })
    }
}

/// A refresh that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefreshRequest {
    /// The user's share, sealed with what it is for.
    pub user_share: Option<SealedShare>,
    /// The key that the user's new share is sealed to.
    pub recipient: Option<[u8; 32]>,
    /// SHA-256 of the claim to the user's new share.
    pub claim_hash: Option<[u8; 32]>,
}

impl RefreshRequest {
    /// Who gets the user's new share, if the account has a user's share.
    pub(super) fn new_share_for(&self, account: &Account) -> Result<Option<NewShareTerms>, Problem> {
        let problem = |code, detail: &str| Err(Problem::new(code, detail));
        if account.user_party.is_none() {
            return match (&self.user_share, self.recipient, self.claim_hash) {
                (None, None, None) => Ok(None),
                _ => problem(Code::NoUserShare, "user_share: no user has a share of this account"),
            };
        }
        if self.user_share.is_none() {
            return problem(Code::UserShareRequired, "user_share: all parties take part, the user's too");
        }
        match (self.recipient, self.claim_hash) {
            (Some(recipient), Some(claim_hash)) => Ok(Some(NewShareTerms { recipient, claim_hash })),
            (None, _) => {
                problem(Code::RecipientKeyRequired, "recipient_key: say whom the new share is sealed to")
            }
            (_, None) => {
                problem(Code::ClaimRequired, "claim_hash: say with which claim the new share is confirmed")
            }
        }
    }
}

fn hash_function(name: &str) -> Result<HashFunction, Problem> {
    Ok(match name {
        "keccak256" => HashFunction::Keccak256,
        "sha256" => HashFunction::Sha256,
        "sha256d" => HashFunction::Sha256d,
        _ => {
            let detail = "hash: use keccak256, sha256 or sha256d, or leave it out if message is a digest";
            return Err(Problem::new(Code::UnknownHash, detail));
        }
    })
}

fn read_message(text: &str, hash: HashFunction) -> Result<Vec<u8>, Problem> {
    let problem = |detail: String| Err(Problem::new(Code::InvalidMessage, detail));
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let Ok(message) = hex::decode(digits) else {
        return problem("message: give it in hex, two digits for each byte".into());
    };
    if hash == HashFunction::None && message.len() != 32 {
        let length = message.len();
        return problem(format!(
            "message: without hash it is a digest of 32 bytes, this is {length}; hash it, or name the hash"
        ));
    }
    if message.is_empty() || message.len() > MAX_SIGNED_MESSAGE_BYTES {
        return problem(format!("message: give 1 to {MAX_SIGNED_MESSAGE_BYTES} bytes"));
    }
    Ok(message)
}

/// `m/44/60/0/0/7`: BIP-32 without hardened steps, which only the holder of a whole private key could take.
fn read_path(text: &str) -> Result<Vec<u32>, Problem> {
    let problem = |detail: &str| Problem::new(Code::InvalidPath, detail);
    let form = || problem("path: write it as m/44/60/0/0/7, with child numbers below 2147483648");
    let mut steps = text.split('/');
    if steps.next() != Some("m") {
        return Err(form());
    }
    let path: Vec<u32> = steps
        .map(|step| {
            if step.ends_with(['\'', 'h', 'H']) {
                return Err(problem(
                    "path: hardened steps can't be derived: no process holds the private key; use non-hardened ones",
                ));
            }
            let plain = !step.is_empty() && step.bytes().all(|b| b.is_ascii_digit());
            match step.parse() {
                Ok(child @ 0..=0x7fff_ffff) if plain => Ok(child),
                _ => Err(form()),
            }
        })
        .collect::<Result<_, _>>()?;
    if path.len() > MAX_PATH_STEPS {
        return Err(problem("path: use at most 16 steps"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(read: Result<T, Problem>) -> Option<Code> {
        read.err().map(|problem| problem.code)
    }

    #[test]
    fn messages_are_digests_or_named_by_their_hash() {
        let digest = "0X".to_lowercase() + &"ab".repeat(32);
        assert!(SignRequest::read(&digest, None, None, None).is_ok());
        assert!(SignRequest::read("00", Some("keccak256"), None, None).is_ok());
        for (message, hash, wrong) in [
            ("xy", None, Code::InvalidMessage),
            ("abc", Some("sha256"), Code::InvalidMessage),
            ("", Some("sha256"), Code::InvalidMessage),
            ("abcd", None, Code::InvalidMessage),
            ("00", Some("md5"), Code::UnknownHash),
        ] {
            assert_eq!(code(SignRequest::read(message, hash, None, None)), Some(wrong), "{message}");
        }
    }

    #[test]
    fn paths_have_no_hardened_steps() {
        assert_eq!(read_path("m").unwrap(), Vec::<u32>::new());
        assert_eq!(read_path("m/44/60/0/0/2147483647").unwrap(), [44, 60, 0, 0, 0x7fff_ffff]);
        let deep = format!("m{}", "/1".repeat(17));
        for bad in ["", "44/60", "m/", "m/44'", "m/44h", "m/-1", "m/+1", "m/2147483648", "m/1//2", &deep] {
            assert_eq!(code(read_path(bad)), Some(Code::InvalidPath), "{bad}");
        }
    }

    #[test]
    fn accounts_need_a_user_and_a_possible_threshold() {
        let read = |user: &str| Creation::read(user.into(), None, None);
        assert!(read("user123").is_ok());
        assert!(read_threshold(2, 16).is_ok());
        for user in ["", "  ", "a\nb", &"x".repeat(257)] {
            assert_eq!(code(read(user)), Some(Code::InvalidUserId));
        }
        for (t, n) in [(1, 3), (4, 3), (2, 17), (0, 0)] {
            assert_eq!(code(read_threshold(t, n)), Some(Code::InvalidThreshold));
        }
    }
}
