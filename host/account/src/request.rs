//! The requests of callers, parsed and validated.

use quorate_control_store::Account;
use quorate_core::code::Code;
use quorate_core::codec::Bytes;
use quorate_core::order::{HashFunction, ItemObjection, MAX_SIGN_ITEMS, SignItem, SignItems};
use quorate_core::share_grant::NewShareTerms;
use quorate_core::{PartyIndex, Threshold};
use quorate_net::problem::Problem;
use serde::Deserialize;
use utoipa::ToSchema;

use super::UserShareOptions;
use super::sealed_share::SealedShare;

/// The longest user id, in bytes.
const MAX_USER_ID_BYTES: usize = 256;

/// The longest message, in bytes: what fits a body of 64 KiB as hex.
const MAX_SIGNED_MESSAGE_BYTES: usize = 32 << 10;

/// The most bytes of all messages of a request: 64 of 2 KiB. The order carries them, and each session of it is stored with them.
const MAX_BATCH_MESSAGE_BYTES: usize = 128 << 10;

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
    /// Whether it was asked for as `items`, so that the answer is a list too.
    pub is_batch: bool,
    /// Which parties should sign; empty: any.
    pub signers: Vec<PartyIndex>,
    /// The user's share, sealed with what it is for.
    pub user_share: Option<SealedShare>,
}

/// A message to sign, as a caller writes it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemText {
    /// In hex: a digest of 32 bytes; with `hash`, and with the scheme `ed25519`, the message itself, of at most 32 KiB.
    pub message: String,
    /// `keccak256`, `sha256` or `sha256d`: how the parties hash the message. Leave it out for a digest, and with `ed25519`.
    pub hash: Option<String>,
    /// BIP-32 without hardened steps, relative to the account's key: `m/0/7`.
    #[schema(example = "m/0/7")]
    pub path: Option<String>,
    /// Of `bip340` only, in hex: the merkle root of a Taproot output's scripts, 32 bytes. The signature is under the key of that output.
    pub merkle_root: Option<String>,
}

impl SignRequest {
    /// Reads a request to sign one message.
    ///
    /// # Errors
    /// [`Code::InvalidMessage`], [`Code::UnknownHash`], [`Code::InvalidPath`], [`Code::InvalidMerkleRoot`] or
    /// [`Code::InvalidSigners`].
    pub fn read(text: &ItemText, signers: Option<&[u16]>) -> Result<Self, Problem> {
        let items = text.read()?.into();
        Ok(Self { items, is_batch: false, signers: read_signers(signers)?, user_share: None })
    }

    /// Reads a request to sign several messages together.
    ///
    /// # Errors
    /// [`Code::InvalidItems`] when there are none, too many or too long ones, and those of [`Self::read`].
    pub fn read_batch(texts: &[ItemText], signers: Option<&[u16]>) -> Result<Self, Problem> {
        let problem = |detail: String| Problem::new(Code::InvalidItems, detail);
        let items = texts.iter().enumerate().map(|(number, text)| {
            let named =
                |wrong: Problem| Problem { detail: format!("items[{number}].{}", wrong.detail), ..wrong };
            text.read().map_err(named)
        });
        let items: Vec<SignItem> = items.collect::<Result<_, _>>()?;
        if items.iter().map(|item| item.message.0.len()).sum::<usize>() > MAX_BATCH_MESSAGE_BYTES {
            return Err(problem(format!(
                "items: their messages have at most {MAX_BATCH_MESSAGE_BYTES} bytes together"
            )));
        }
        let count = items.len();
        let wrong_count = || problem(format!("items: give 1 to {MAX_SIGN_ITEMS}, these are {count}"));
        let items = SignItems::new(items).ok_or_else(wrong_count)?;
        Ok(Self { items, is_batch: true, signers: read_signers(signers)?, user_share: None })
    }

    /// Checks that every item can be signed with a scheme.
    ///
    /// # Errors
    /// [`Code::InvalidMessage`], [`Code::UnknownHash`], [`Code::InvalidPath`] or [`Code::InvalidMerkleRoot`].
    pub fn check_scheme(&self, scheme: &str) -> Result<(), Problem> {
        self.items.all().iter().enumerate().try_for_each(|(number, item)| {
            let Some((code, detail)) = scheme_problem(scheme, item) else { return Ok(()) };
            let place = if self.is_batch { format!("items[{number}].") } else { String::new() };
            Err(Problem::new(code, format!("{place}{detail}")))
        })
    }
}

/// Why an item can't be signed with a scheme, for callers.
fn scheme_problem(scheme: &str, item: &SignItem) -> Option<(Code, String)> {
    let length = item.message.0.len();
    if item.hash == HashFunction::None && scheme != "ed25519" && length != 32 {
        let detail = format!(
            "message: without hash it is a digest of 32 bytes, this is {length}; hash it, or name the hash"
        );
        return Some((Code::InvalidMessage, detail));
    }
    let objection = item.objection(scheme)?;
    let (code, field) = match objection {
        ItemObjection::HardenedPath | ItemObjection::NoChildren => (Code::InvalidPath, "path"),
        ItemObjection::NoHash => (Code::UnknownHash, "hash"),
        ItemObjection::NoMerkleRoot => (Code::InvalidMerkleRoot, "merkle_root"),
        // No request asks for one.
        ItemObjection::Presignature => (Code::Internal, "presignature"),
    };
    Some((code, format!("{field}: {}", objection.reason())))
}

impl ItemText {
    /// A digest, to be signed with the account's own key.
    #[must_use]
    pub fn digest(message: impl Into<String>) -> Self {
        Self { message: message.into(), hash: None, path: None, merkle_root: None }
    }

    fn read(&self) -> Result<SignItem, Problem> {
        let hash = self.hash.as_deref().map_or(Ok(HashFunction::None), hash_function)?;
        let message = Bytes(read_message(&self.message)?);
        let path = self.path.as_deref().map_or(Ok(vec![]), read_path)?;
        let merkle_root = self.merkle_root.as_deref().map(read_merkle_root).transpose()?;
        // Whether a presignature may be used is decided when the scheme is known.
        Ok(SignItem { message, hash, path, merkle_root, presignatures: false })
    }
}

fn read_signers(signers: Option<&[u16]>) -> Result<Vec<PartyIndex>, Problem> {
    let signers = signers.unwrap_or_default().iter().map(|&index| PartyIndex::try_from(index));
    let signers = signers.collect::<Result<_, _>>();
    signers.map_err(|_| Problem::new(Code::InvalidSigners, "signers: indices begin at 1"))
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

/// Reads the merkle root of a Taproot output's scripts.
///
/// # Errors
/// [`Code::InvalidMerkleRoot`].
pub(crate) fn read_merkle_root(text: &str) -> Result<[u8; 32], Problem> {
    let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok();
    let root = bytes.and_then(|bytes| bytes.try_into().ok());
    root.ok_or_else(|| {
        Problem::new(Code::InvalidMerkleRoot, "merkle_root: give 32 bytes in hex: 64 characters")
    })
}

fn read_message(text: &str) -> Result<Vec<u8>, Problem> {
    let problem = |detail: String| Err(Problem::new(Code::InvalidMessage, detail));
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let Ok(message) = hex::decode(digits) else {
        return problem("message: give it in hex, two digits for each byte".into());
    };
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
        let read = |message: &str, hash: Option<&str>| {
            let hash = hash.map(str::to_owned);
            let request = SignRequest::read(&ItemText { hash, ..ItemText::digest(message) }, None)?;
            request.check_scheme("ecdsa-secp256k1").map(|()| request)
        };
        let digest = "0X".to_lowercase() + &"ab".repeat(32);
        assert!(read(&digest, None).is_ok());
        assert!(read("00", Some("keccak256")).is_ok());
        for (message, hash, wrong) in [
            ("xy", None, Code::InvalidMessage),
            ("abc", Some("sha256"), Code::InvalidMessage),
            ("", Some("sha256"), Code::InvalidMessage),
            ("abcd", None, Code::InvalidMessage),
            ("00", Some("md5"), Code::UnknownHash),
        ] {
            assert_eq!(code(read(message, hash)), Some(wrong), "{message}");
        }
    }

    #[test]
    fn a_batch_has_1_to_64_items_of_which_each_is_read_like_a_message() {
        let digest = "ab".repeat(32);
        let item = ItemText::digest(digest);
        for (items, fits) in [(0, false), (1, true), (64, true), (65, false)] {
            let read = SignRequest::read_batch(&vec![item.clone(); items], None);
            assert_eq!(code(read.clone()), (!fits).then_some(Code::InvalidItems), "{items}");
            assert!(read.is_ok_and(|r| r.is_batch && r.items.all().len() == items) == fits, "{items}");
        }
        let short = SignRequest::read_batch(&[item.clone(), ItemText::digest("abcd")], None).unwrap();
        for problem in [
            SignRequest::read_batch(&[item, ItemText::digest("abc")], None).unwrap_err(),
            short.check_scheme("bip340").unwrap_err(),
        ] {
            assert_eq!(problem.code, Code::InvalidMessage);
            assert!(problem.detail.starts_with("items[1].message: "), "{}", problem.detail);
        }
        let long = ItemText::digest("00".repeat(MAX_SIGNED_MESSAGE_BYTES));
        let long = ItemText { hash: Some("sha256".into()), ..long };
        assert!(SignRequest::read_batch(&vec![long.clone(); 4], None).is_ok());
        assert_eq!(code(SignRequest::read_batch(&vec![long; 5], None)), Some(Code::InvalidItems));
    }

    #[test]
    fn an_item_is_checked_against_the_scheme_of_its_account() {
        let digest = ItemText::digest("ab".repeat(32));
        let message = ItemText::digest("abcd");
        let hashed = ItemText { hash: Some("sha256".into()), ..message.clone() };
        let child = ItemText { path: Some("m/0".into()), ..digest.clone() };
        let with_root = ItemText { merkle_root: Some("cd".repeat(32)), ..digest.clone() };
        let check = |text: &ItemText, scheme: &str| {
            SignRequest::read(text, None).unwrap().check_scheme(scheme).err().map(|problem| problem.code)
        };
        use Code::{InvalidMerkleRoot, InvalidMessage, InvalidPath, UnknownHash};
        for (text, ecdsa, ed25519, bip340) in [
            (digest, None, None, None),
            (message, Some(InvalidMessage), None, Some(InvalidMessage)),
            (hashed, None, Some(UnknownHash), None),
            (child, None, Some(InvalidPath), Some(InvalidPath)),
            (with_root, Some(InvalidMerkleRoot), Some(InvalidMerkleRoot), None),
        ] {
            assert_eq!(check(&text, "ecdsa-secp256k1"), ecdsa, "{text:?}");
            assert_eq!(check(&text, "ed25519"), ed25519, "{text:?}");
            assert_eq!(check(&text, "bip340"), bip340, "{text:?}");
        }
        for root in ["cd", "", "xy", &"cd".repeat(31), &"cd".repeat(33)] {
            assert_eq!(code(read_merkle_root(root)), Some(InvalidMerkleRoot), "{root}");
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
