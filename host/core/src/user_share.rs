//! A user's key share outside this system: what leaves it, and what comes back with a request.
//!
//! Both are [sealed](crate::sealed_box). The formats are described for other languages, with test vectors, in
//! `docs/user-shares.md`. Integers are big-endian.
//!
//! ```text
//! share     "qup1" account(16) epoch(4) party(2) then entries: name length(4) name, value length(4) value
//! sealed    "qus1" account(16) epoch(4) party(2) encapsulated key(32) ciphertext         associated data: the first 26 bytes
//! request   head length(4) head, then the share
//! sealed    "qur1" sealing key(16) encapsulated key(32) ciphertext                       associated data: the first 20 bytes
//! ```

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::PartyIndex;
use crate::codec::{decode, encode, wire_struct};
use crate::ids::AccountId;
use crate::sealed_box::{OpenError, RecipientKey, open, seal};

const SHARE_MAGIC: &[u8; 4] = b"qup1";
const SEALED_SHARE_MAGIC: &[u8; 4] = b"qus1";
const SHARE_INFO: &[u8] = b"quorate 1 user share";

/// The length of the header of a share: its kind, and which share it is.
const HEADER_BYTES: usize = 4 + 16 + 4 + 2;

/// Which share it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareId {
    /// The account.
    pub account: AccountId,
    /// The version of the account's shares.
    pub epoch: u32,
    /// The user's index among the parties.
    pub party: PartyIndex,
}

wire_struct!(ShareId { account, epoch, party });

/// A user's share as bytes. Only the plugin reads more of it than its id.
#[derive(Clone, PartialEq, Eq)]
pub struct UserShare(Zeroizing<Vec<u8>>);

impl core::fmt::Debug for UserShare {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("UserShare")
    }
}

/// Vault entries of a share, by name.
pub type ShareEntries = BTreeMap<String, Zeroizing<Vec<u8>>>;

impl UserShare {
    /// A share with these vault entries.
    #[must_use]
    pub fn new(id: &ShareId, entries: &ShareEntries) -> Self {
        let size: usize = entries.iter().map(|(name, value)| 8 + name.len() + value.len()).sum();
        // A buffer that grows would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(HEADER_BYTES + size));
        bytes.extend_from_slice(SHARE_MAGIC);
        bytes.extend_from_slice(&encode(id));
        for (name, value) in entries {
            for part in [name.as_bytes(), value] {
                // A vault entry is far shorter than 4 GiB.
                bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
                bytes.extend_from_slice(part);
            }
        }
        Self(bytes)
    }

    /// Reads a share.
    ///
    /// # Errors
    /// When the bytes are malformed.
    pub fn read(bytes: Zeroizing<Vec<u8>>) -> Result<Self, OpenError> {
        let share = Self(bytes);
        header(SHARE_MAGIC, &share.0)?;
        share.entries()?;
        Ok(share)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Which share it is.
    ///
    /// # Errors
    /// When it does not say.
    pub fn id(&self) -> Result<ShareId, OpenError> {
        header(SHARE_MAGIC, &self.0).map(|(_, id, _)| id)
    }

    /// Its vault entries.
    ///
    /// # Errors
    /// When they are damaged.
    pub fn entries(&self) -> Result<ShareEntries, OpenError> {
        let mut rest = self.0.get(HEADER_BYTES..).ok_or(OpenError::Malformed)?;
        let mut entries = ShareEntries::new();
        while !rest.is_empty() {
            let (name, after) = part(rest)?;
            let (value, after) = part(after)?;
            rest = after;
            let name = core::str::from_utf8(name).map_err(|_| OpenError::Malformed)?;
            entries.insert(name.to_owned(), Zeroizing::new(value.to_vec()));
        }
        Ok(entries)
    }

    /// Seals it for its user. `seed` is fresh randomness.
    ///
    /// # Errors
    /// When the recipient is no key.
    pub fn seal(&self, recipient: &[u8; 32], seed: &[u8; 32]) -> Result<Vec<u8>, OpenError> {
        let mut header = self.0[..HEADER_BYTES].to_vec();
        header[..4].copy_from_slice(SEALED_SHARE_MAGIC);
        seal(recipient, SHARE_INFO, header, &self.0, seed)
    }

    /// Opens a share that was sealed for the holder of this key.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(sealed: &[u8], key: &RecipientKey) -> Result<Self, OpenError> {
        let (header_bytes, id, rest) = header(SEALED_SHARE_MAGIC, sealed)?;
        let share = Self::read(open(key, SHARE_INFO, header_bytes, rest)?)?;
        if share.id()? == id { Ok(share) } else { Err(OpenError::Malformed) }
    }
}

/// Splits bytes into the header, the id in it, and the rest.
fn header<'a>(kind: &[u8; 4], bytes: &'a [u8]) -> Result<(&'a [u8], ShareId, &'a [u8]), OpenError> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or(OpenError::Malformed)?;
    let id = header.strip_prefix(kind).ok_or(OpenError::Malformed)?;
    Ok((header, decode(id)?, rest))
}

/// Splits a length-prefixed part off the front.
pub(crate) fn part(bytes: &[u8]) -> Result<(&[u8], &[u8]), OpenError> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(OpenError::Malformed)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| OpenError::Malformed)?;
    rest.split_at_checked(length).ok_or(OpenError::Malformed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::UnixSeconds;
    use crate::codec::Bytes;
    use crate::identity::SecretKey;
    use crate::ids::SealingKeyId;
    use crate::order::{HashFunction, SignItem};
    use crate::sealing_key::SealingKey;
    use crate::share_claim::ShareClaim;
    use crate::share_grant::{GrantHeader, NewShareTerms, Purpose, ShareGrant};

    fn id() -> ShareId {
        ShareId { account: AccountId([7; 16]), epoch: 3, party: PartyIndex::try_from(3).unwrap() }
    }

    fn share() -> UserShare {
        let entries = [("a", vec![1; 40]), ("share", vec![2; 5])];
        let entries = entries.map(|(name, value)| (name.to_owned(), Zeroizing::new(value)));
        UserShare::new(&id(), &ShareEntries::from(entries))
    }

    fn request() -> ShareGrant {
        let item = SignItem {
            message: Bytes(vec![9; 32]),
            hash: HashFunction::None,
            path: vec![0, 7],
            merkle_root: None,
            presignatures: false,
        };
        let header = GrantHeader {
            nonce: [5; 32],
            expires_at: UnixSeconds(1_800_000_000),
            account: AccountId([7; 16]),
            epoch: 3,
            purpose: Purpose::Sign(item.into()),
        };
        ShareGrant { header, share: share() }
    }

    fn sealing_key(key: &RecipientKey) -> SealingKey {
        SealingKey {
            id: SealingKeyId([6; 16]),
            key: key.public(),
            not_before: UnixSeconds(1_799_999_000),
            not_after: UnixSeconds(1_800_001_000),
        }
    }

    #[test]
    fn a_share_opens_for_its_recipient_and_for_nobody_else() {
        let (key, other) = (RecipientKey::derive(&[1; 32]), RecipientKey::derive(&[2; 32]));
        let sealed = share().seal(&key.public(), &[3; 32]).unwrap();
        let opened = UserShare::open(&sealed, &key).unwrap();
        assert_eq!((opened.id(), opened.entries()), (Ok(id()), share().entries()));
        assert_eq!(UserShare::open(&sealed, &other), Err(OpenError::Sealed));
        assert_eq!(ShareGrant::open(&sealed, &key), Err(OpenError::Malformed));
        let again = RecipientKey::from_bytes(key.to_bytes().as_slice().try_into().unwrap()).unwrap();
        assert_eq!(UserShare::open(&sealed, &again), Ok(share()));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let key = RecipientKey::derive(&[1; 32]);
        let (sealed, asked) = (
            share().seal(&key.public(), &[3; 32]).unwrap(),
            request().seal(&sealing_key(&key), &[4; 32]).unwrap(),
        );
        for byte in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[byte] ^= 1;
            assert!(UserShare::open(&changed, &key).is_err(), "byte {byte} of a share");
        }
        for byte in 0..asked.len() {
            let mut changed = asked.clone();
            changed[byte] ^= 1;
            assert!(ShareGrant::open(&changed, &key).is_err(), "byte {byte} of a request");
        }
        for cut in 0..sealed.len() {
            assert!(UserShare::open(&sealed[..cut], &key).is_err(), "a share of {cut} bytes");
        }
    }

    #[test]
    fn a_request_says_what_the_share_is_for() {
        let key = RecipientKey::derive(&[1; 32]);
        let sealed = request().seal(&sealing_key(&key), &[4; 32]).unwrap();
        assert_eq!(ShareGrant::sealing_key(&sealed), Ok(SealingKeyId([6; 16])));
        assert_eq!(ShareGrant::open(&sealed, &key), Ok(request()));
        assert_eq!(UserShare::open(&sealed, &key), Err(OpenError::Malformed));
    }

    #[test]
    fn nothing_is_sealed_to_a_key_that_gives_no_secret() {
        assert!(RecipientKey::is_valid(&RecipientKey::derive(&[1; 32]).public()));
        for bad in [[0; 32], core::array::from_fn(|i| u8::from(i == 0))] {
            assert!(!RecipientKey::is_valid(&bad));
            assert_eq!(share().seal(&bad, &[3; 32]), Err(OpenError::Key));
        }
    }

    /// The vectors that callers in other languages hold themselves to.
    #[test]
    fn the_documented_vectors_hold() {
        let documented = include_str!("../../../docs/user-shares.md");
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (user, party) = (RecipientKey::derive(&[1; 32]), RecipientKey::derive(&[2; 32]));
        let sealed = share().seal(&user.public(), &[3; 32]).unwrap();
        let request = request();
        let asked = request.seal(&sealing_key(&party), &[4; 32]).unwrap();
        let identity = SecretKey::from_seed(&[3; 32]);
        let claim_hash = ShareClaim::new(Zeroizing::new([8; 32])).hash();
        let terms = NewShareTerms { recipient: user.public(), claim_hash };
        let refresh = GrantHeader { purpose: Purpose::Refresh(terms), ..request.header.clone() };
        for (name, value) in [
            ("recipient secret", user.to_bytes().to_vec()),
            ("recipient_key", user.public().to_vec()),
            ("claim_hash", claim_hash.to_vec()),
            ("share", share().bytes().to_vec()),
            ("sealed share", sealed),
            ("sealing secret", party.to_bytes().to_vec()),
            ("sealing key", party.public().to_vec()),
            ("signed as", encode(&sealing_key(&party))),
            ("identity", identity.public().0.to_vec()),
            ("signature", sealing_key(&party).sign(&identity).signature.0.to_vec()),
            ("header to sign", encode(&request.header)),
            ("header to refresh", encode(&refresh)),
            ("sealed request", asked),
        ] {
            let line = format!("{name} = {}", hex(&value));
            assert!(
                documented.lines().any(|documented| documented == line),
                "docs/user-shares.md lacks: {line}"
            );
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", share()), "UserShare");
        assert_eq!(format!("{:?}", RecipientKey::derive(&[1; 32])), "RecipientKey");
    }
}
