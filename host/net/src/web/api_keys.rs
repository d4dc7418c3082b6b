//! Hashes of API keys. A process that holds them recognises a key, and can't present one.

use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The SHA-256 hashes of the keys that callers may present: several at once, so that a key is replaced without a gap.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyHashes(Vec<[u8; 32]>);

/// What a key is counted under: a part of its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyName(String);

/// Bytes of a key's hash in its name.
const KEY_NAME_BYTES: usize = 8;

impl KeyName {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a list of API keys or of their hashes can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidApiKeys {
    /// A key that can be guessed.
    #[error("a key has fewer than {min} bytes", min = ApiKeyHashes::MIN_KEY_BYTES)]
    Short,
    /// Text that is no hash.
    #[error("a hash does not have 64 hexadecimal characters")]
    MalformedHash,
    /// No key, or more than are compared.
    #[error("give 1 to {max} keys", max = ApiKeyHashes::MAX_KEYS)]
    Count,
}

impl ApiKeyHashes {
    /// The shortest key, in bytes.
    pub const MIN_KEY_BYTES: usize = 16;

    /// The most keys at once: a caller's key is compared with each.
    pub const MAX_KEYS: usize = 16;

    /// Hashes keys.
    ///
    /// # Errors
    /// A key is too short, or there are none or too many.
    pub fn of_keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidApiKeys> {
        let hash = |key: &str| match key.len() {
            Self::MIN_KEY_BYTES.. => Ok(Sha256::digest(key.as_bytes()).into()),
            _ => Err(InvalidApiKeys::Short),
        };
        Self::new(keys.into_iter().map(hash).collect::<Result<_, _>>()?)
    }

    /// Hashes the keys of a list with commas between.
    ///
    /// # Errors
    /// See [`ApiKeyHashes::of_keys`].
    pub fn of_list(list: &str) -> Result<Self, InvalidApiKeys> {
        Self::of_keys(list.split(',').map(str::trim))
    }

    fn new(hashes: Vec<[u8; 32]>) -> Result<Self, InvalidApiKeys> {
        match hashes.len() {
            1..=Self::MAX_KEYS => Ok(Self(hashes)),
            _ => Err(InvalidApiKeys::Count),
        }
    }

    /// The hashes in hexadecimal digits, with commas between: what [`FromStr`] reads.
    #[must_use]
    pub fn to_list(&self) -> String {
        self.0.iter().map(hex::encode).collect::<Vec<_>>().join(",")
    }

    /// Whether one of the hashes is that of a key.
    #[must_use]
    pub fn are_of(&self, key: &str) -> bool {
        self.recognise(key.as_bytes()).is_some()
    }

    /// The name of the key that a caller presents, if it is one of these. It is compared with all of them, in constant time.
    pub(super) fn recognise(&self, presented: &[u8]) -> Option<KeyName> {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        let matches = self.0.iter().map(|hash| hash.ct_eq(&presented));
        let is_known: bool = matches.fold(Choice::from(0), |found, matches| found | matches).into();
        is_known.then(|| KeyName(hex::encode(&presented[..KEY_NAME_BYTES])))
    }
}

impl FromStr for ApiKeyHashes {
    type Err = InvalidApiKeys;

    fn from_str(list: &str) -> Result<Self, InvalidApiKeys> {
        let hash = |text: &str| {
            let mut hash = [0; 32];
            hex::decode_to_slice(text.trim(), &mut hash)
                .map(|()| hash)
                .map_err(|_| InvalidApiKeys::MalformedHash)
        };
        Self::new(list.split(',').map(hash).collect::<Result<_, _>>()?)
    }
}

impl std::fmt::Debug for ApiKeyHashes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKeyHashes({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 2] = ["correct horse battery", "another key for callers"];

    #[test]
    fn each_key_is_recognised_and_none_is_shown() {
        let hashes = ApiKeyHashes::of_keys(KEYS).unwrap();
        for key in KEYS {
            assert!(hashes.recognise(key.as_bytes()).is_some(), "{key}");
        }
        assert!(hashes.recognise(b"correct horse batterz").is_none() && hashes.recognise(b"").is_none());
        assert_eq!(format!("{hashes:?}"), "ApiKeyHashes(2)");
    }

    #[test]
    fn a_hash_is_no_key() {
        let hashes = ApiKeyHashes::of_keys(KEYS).unwrap();
        assert!(hashes.recognise(hashes.to_list().as_bytes()).is_none());
        for hash in hashes.to_list().split(',') {
            assert!(hashes.recognise(hash.as_bytes()).is_none());
            assert!(hashes.recognise(&hex::decode(hash).unwrap()).is_none());
        }
    }

    #[test]
    fn a_list_of_hashes_is_read_as_it_was_written() {
        let hashes = ApiKeyHashes::of_keys(KEYS).unwrap();
        assert_eq!(hashes.to_list().parse::<ApiKeyHashes>().unwrap(), hashes);
        assert_eq!(hashes.to_list().replace(',', " , ").parse::<ApiKeyHashes>().unwrap(), hashes);
        // sha256sum(1) of the first key.
        assert!(
            hashes.to_list().starts_with("9028ea0d15decaa35b2da21c0290af3b1a5ba0a30a591906f89b5074e209ea72")
        );
    }

    #[test]
    fn lists_that_can_not_be_used_are_refused() {
        assert_eq!(ApiKeyHashes::of_keys(["short"]).unwrap_err(), InvalidApiKeys::Short);
        assert_eq!(ApiKeyHashes::of_keys([]).unwrap_err(), InvalidApiKeys::Count);
        assert_eq!(ApiKeyHashes::of_keys([KEYS[0]; 17]).unwrap_err(), InvalidApiKeys::Count);
        for list in ["", ",", "correct horse battery", &"ab".repeat(31)] {
            assert_eq!(list.parse::<ApiKeyHashes>().unwrap_err(), InvalidApiKeys::MalformedHash, "{list}");
        }
        assert_eq!(
            vec!["ab".repeat(32); 17].join(",").parse::<ApiKeyHashes>().unwrap_err(),
            InvalidApiKeys::Count
        );
    }
}
