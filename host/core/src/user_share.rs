//! A user's key share outside this system: what leaves it, and what comes back with a request.
//!
//! Both are sealed with HPKE (RFC 9180, base mode): DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305, as on
//! the way between parties. The formats are described for other languages, with test vectors, in `docs/user-shares.md`.
//! Integers are big-endian.
//!
//! ```text
//! share     "qup1" account(16) epoch(4) party(2) then entries: name length(4) name, value length(4) value
//! sealed    "qus1" account(16) epoch(4) party(2) encapsulated key(32) ciphertext         associated data: the first 26 bytes
//! request   head length(4) head, then the share
//! sealed    "qur1" encapsulated key(32) ciphertext                                       associated data: the first 4 bytes
//! ```

use std::collections::BTreeMap;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem, X25519HkdfSha256};
use hpke::{Deserializable, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal_with_rng};
use zeroize::Zeroizing;

use crate::PartyIndex;
use crate::codec::{Malformed, Reader, Wire, decode, encode, wire_struct};
use crate::ids::AccountId;
use crate::order::Signing;

const SHARE: &[u8; 4] = b"qup1";
const SEALED_SHARE: &[u8; 4] = b"qus1";
const SEALED_REQUEST: &[u8; 4] = b"qur1";
const SHARE_INFO: &[u8] = b"quorate 1 user share";
const REQUEST_INFO: &[u8] = b"quorate 1 user share request";

/// What stands in front of a share: its kind, and whose it is.
const HEADER_BYTES: usize = 4 + 16 + 4 + 2;
const ENCAPSULATED_BYTES: usize = 32;

type Secret = <X25519HkdfSha256 as Kem>::PrivateKey;
type Public = <X25519HkdfSha256 as Kem>::PublicKey;
type Encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey;

/// Why bytes are no share or request, or do not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// They are of another kind, of a newer version, or damaged.
    #[error("this is not what was expected here, or it was damaged")]
    Malformed,
    /// They were sealed to another key, or changed.
    #[error("it was sealed to another key, or changed since")]
    Sealed,
    /// The key to seal to is none.
    #[error("the key to seal to is no X25519 key")]
    Key,
}

impl From<Malformed> for Unreadable {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

/// A key that shares or requests are sealed to. The library wipes it when it is dropped.
pub struct RecipientKey(Secret);

impl RecipientKey {
    /// The key that comes from 32 bytes of good randomness or key material (RFC 9180, `DeriveKeyPair`).
    #[must_use]
    pub fn derive(material: &[u8; 32]) -> Self {
        Self(X25519HkdfSha256::derive_keypair(material).0)
    }

    /// The key of these 32 bytes (RFC 7748).
    ///
    /// # Errors
    /// When they are no key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Unreadable> {
        Secret::from_bytes(bytes).map(Self).map_err(|_| Unreadable::Key)
    }

    /// The key's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    /// Whether something can be sealed to a key. Points of small order give no secret.
    #[must_use]
    pub fn is_good(recipient: &[u8; 32]) -> bool {
        seal(recipient, SHARE_INFO, vec![], &[], &[0; 32]).is_ok()
    }

    /// Its public side.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        X25519HkdfSha256::sk_to_pk(&self.0).to_bytes().into()
    }
}

impl core::fmt::Debug for RecipientKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RecipientKey")
    }
}

/// Whose share it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whose {
    /// The account.
    pub account: AccountId,
    /// The version of the account's shares.
    pub epoch: u32,
    /// The user's index among the parties.
    pub party: PartyIndex,
}

wire_struct!(Whose { account, epoch, party });

/// A user's share as bytes: nobody but the plugin reads more of it than whose it is.
#[derive(Clone, PartialEq, Eq)]
pub struct UserShare(Zeroizing<Vec<u8>>);

impl core::fmt::Debug for UserShare {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("UserShare")
    }
}

/// Vault entries of a share, by name.
type Entries = BTreeMap<String, Zeroizing<Vec<u8>>>;

impl UserShare {
    /// Puts a share together.
    #[must_use]
    pub fn new(whose: &Whose, entries: &Entries) -> Self {
        let size: usize = entries.iter().map(|(name, value)| 8 + name.len() + value.len()).sum();
        // What grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(HEADER_BYTES + size));
        bytes.extend_from_slice(SHARE);
        bytes.extend_from_slice(&encode(whose));
        for (name, value) in entries {
            for part in [name.as_bytes(), value] {
                // A vault entry is far shorter than 4 GiB.
                bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
                bytes.extend_from_slice(part);
            }
        }
        Self(bytes)
    }

    /// A share of these bytes.
    ///
    /// # Errors
    /// When they are none.
    pub fn read(bytes: Zeroizing<Vec<u8>>) -> Result<Self, Unreadable> {
        let share = Self(bytes);
        header(SHARE, &share.0)?;
        share.entries()?;
        Ok(share)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whose it is.
    ///
    /// # Errors
    /// When it does not say.
    pub fn whose(&self) -> Result<Whose, Unreadable> {
        header(SHARE, &self.0).map(|(_, whose, _)| whose)
    }

    /// Its vault entries.
    ///
    /// # Errors
    /// When they are damaged.
    pub fn entries(&self) -> Result<Entries, Unreadable> {
        let mut rest = self.0.get(HEADER_BYTES..).ok_or(Unreadable::Malformed)?;
        let mut entries = Entries::new();
        while !rest.is_empty() {
            let (name, after) = part(rest)?;
            let (value, after) = part(after)?;
            rest = after;
            let name = core::str::from_utf8(name).map_err(|_| Unreadable::Malformed)?;
            entries.insert(name.to_owned(), Zeroizing::new(value.to_vec()));
        }
        Ok(entries)
    }

    /// Seals it for its user. `seed` is fresh randomness.
    ///
    /// # Errors
    /// When the recipient is no key.
    pub fn seal(&self, recipient: &[u8; 32], seed: &[u8; 32]) -> Result<Vec<u8>, Unreadable> {
        let mut header = self.0[..HEADER_BYTES].to_vec();
        header[..4].copy_from_slice(SEALED_SHARE);
        seal(recipient, SHARE_INFO, header, &self.0, seed)
    }

    /// Opens a share that was sealed for the holder of this key.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn open(sealed: &[u8], key: &RecipientKey) -> Result<Self, Unreadable> {
        let (header_bytes, whose, rest) = header(SEALED_SHARE, sealed)?;
        let share = Self::read(open(key, SHARE_INFO, header_bytes, rest)?)?;
        if share.whose()? == whose { Ok(share) } else { Err(Unreadable::Malformed) }
    }
}

/// What stands in front, whose it is, and the rest.
fn header<'a>(kind: &[u8; 4], bytes: &'a [u8]) -> Result<(&'a [u8], Whose, &'a [u8]), Unreadable> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or(Unreadable::Malformed)?;
    let whose = header.strip_prefix(kind).ok_or(Unreadable::Malformed)?;
    Ok((header, decode(whose)?, rest))
}

fn part(bytes: &[u8]) -> Result<(&[u8], &[u8]), Unreadable> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(Unreadable::Malformed)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Unreadable::Malformed)?;
    rest.split_at_checked(length).ok_or(Unreadable::Malformed)
}

/// What a user's share comes with: it is good for exactly this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Never used twice.
    pub nonce: [u8; 32],
    /// Until when it is good, in seconds since 1970.
    pub expires_at: u64,
    /// The account.
    pub account: AccountId,
    /// The version of the account's shares.
    pub epoch: u32,
    /// For what.
    pub purpose: Purpose,
}

wire_struct!(Head { nonce, expires_at, account, epoch, purpose });

/// What a user's share is given for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To sign exactly this.
    Sign(Signing),
    /// To be replaced by a new share, sealed to this X25519 key.
    Refresh([u8; 32]),
}

impl Wire for Purpose {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sign(signing) => {
                1_u8.put(out);
                signing.put(out);
            }
            Self::Refresh(recipient) => {
                2_u8.put(out);
                recipient.put(out);
            }
        }
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(input)? {
            1 => Wire::take(input).map(Self::Sign),
            2 => Wire::take(input).map(Self::Refresh),
            _ => Err(Malformed),
        }
    }
}

/// A user's share and what it is given for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRequest {
    /// What for.
    pub head: Head,
    /// The share.
    pub share: UserShare,
}

impl UserRequest {
    /// Seals it for the party API. `seed` is fresh randomness.
    ///
    /// # Errors
    /// When the recipient is no key.
    pub fn seal(&self, recipient: &[u8; 32], seed: &[u8; 32]) -> Result<Vec<u8>, Unreadable> {
        let head = encode(&self.head);
        let mut plain = Zeroizing::new(Vec::with_capacity(4 + head.len() + self.share.0.len()));
        plain.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_be_bytes());
        plain.extend_from_slice(&head);
        plain.extend_from_slice(&self.share.0);
        seal(recipient, REQUEST_INFO, SEALED_REQUEST.to_vec(), &plain, seed)
    }

    /// Opens what was sealed for the holder of this key.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn open(sealed: &[u8], key: &RecipientKey) -> Result<Self, Unreadable> {
        let rest = sealed.strip_prefix(SEALED_REQUEST).ok_or(Unreadable::Malformed)?;
        let plain = open(key, REQUEST_INFO, SEALED_REQUEST, rest)?;
        let (head, share) = part(&plain)?;
        let head = decode(head)?;
        Ok(Self { head, share: UserShare::read(Zeroizing::new(share.to_vec()))? })
    }
}

fn seal(
    recipient: &[u8; 32],
    info: &[u8],
    header: Vec<u8>,
    plain: &[u8],
    seed: &[u8; 32],
) -> Result<Vec<u8>, Unreadable> {
    let recipient = Public::from_bytes(recipient).map_err(|_| Unreadable::Key)?;
    let mut random = ChaCha20Rng::from_seed(*seed);
    let (encapsulated, ciphertext) = single_shot_seal_with_rng::<
        ChaCha20Poly1305,
        HkdfSha256,
        X25519HkdfSha256,
    >(&OpModeS::Base, &recipient, info, plain, &header, &mut random)
    .map_err(|_| Unreadable::Key)?;
    Ok([header.as_slice(), encapsulated.to_bytes().as_slice(), &ciphertext].concat())
}

fn open(
    key: &RecipientKey,
    info: &[u8],
    header: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    let (encapsulated, ciphertext) =
        sealed.split_at_checked(ENCAPSULATED_BYTES).ok_or(Unreadable::Malformed)?;
    let encapsulated = Encapsulated::from_bytes(encapsulated).map_err(|_| Unreadable::Malformed)?;
    let opened = single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &key.0,
        &encapsulated,
        info,
        ciphertext,
        header,
    );
    opened.map(Zeroizing::new).map_err(|_| Unreadable::Sealed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::codec::Bytes;
    use crate::order::HashFunction;

    fn whose() -> Whose {
        Whose { account: AccountId([7; 16]), epoch: 3, party: PartyIndex::try_from(3).unwrap() }
    }

    fn share() -> UserShare {
        let entries = [("a", vec![1; 40]), ("share", vec![2; 5])];
        let entries = entries.map(|(name, value)| (name.to_owned(), Zeroizing::new(value)));
        UserShare::new(&whose(), &Entries::from(entries))
    }

    fn request() -> UserRequest {
        let signing = Signing {
            message: Bytes(vec![9; 32]),
            hash: HashFunction::None,
            path: vec![0, 7],
            tweak: None,
            presignatures: false,
        };
        let head = Head {
            nonce: [5; 32],
            expires_at: 1_800_000_000,
            account: AccountId([7; 16]),
            epoch: 3,
            purpose: Purpose::Sign(signing),
        };
        UserRequest { head, share: share() }
    }

    #[test]
    fn a_share_opens_for_its_recipient_and_for_nobody_else() {
        let (key, other) = (RecipientKey::derive(&[1; 32]), RecipientKey::derive(&[2; 32]));
        let sealed = share().seal(&key.public(), &[3; 32]).unwrap();
        let opened = UserShare::open(&sealed, &key).unwrap();
        assert_eq!((opened.whose(), opened.entries()), (Ok(whose()), share().entries()));
        assert_eq!(UserShare::open(&sealed, &other), Err(Unreadable::Sealed));
        assert_eq!(UserRequest::open(&sealed, &key), Err(Unreadable::Malformed));
        let again = RecipientKey::from_bytes(&key.to_bytes()).unwrap();
        assert_eq!(UserShare::open(&sealed, &again), Ok(share()));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let key = RecipientKey::derive(&[1; 32]);
        let (sealed, asked) = (
            share().seal(&key.public(), &[3; 32]).unwrap(),
            request().seal(&key.public(), &[4; 32]).unwrap(),
        );
        for byte in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[byte] ^= 1;
            assert!(UserShare::open(&changed, &key).is_err(), "byte {byte} of a share");
        }
        for byte in 0..asked.len() {
            let mut changed = asked.clone();
            changed[byte] ^= 1;
            assert!(UserRequest::open(&changed, &key).is_err(), "byte {byte} of a request");
        }
        for cut in 0..sealed.len() {
            assert!(UserShare::open(&sealed[..cut], &key).is_err(), "a share of {cut} bytes");
        }
    }

    #[test]
    fn a_request_says_what_the_share_is_for() {
        let key = RecipientKey::derive(&[1; 32]);
        let sealed = request().seal(&key.public(), &[4; 32]).unwrap();
        assert_eq!(UserRequest::open(&sealed, &key), Ok(request()));
        assert_eq!(UserShare::open(&sealed, &key), Err(Unreadable::Malformed));
    }

    #[test]
    fn nothing_is_sealed_to_a_key_that_gives_no_secret() {
        assert!(RecipientKey::is_good(&RecipientKey::derive(&[1; 32]).public()));
        for bad in [[0; 32], core::array::from_fn(|i| u8::from(i == 0))] {
            assert!(!RecipientKey::is_good(&bad));
            assert_eq!(share().seal(&bad, &[3; 32]), Err(Unreadable::Key));
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
        let asked = request.seal(&party.public(), &[4; 32]).unwrap();
        let refresh = Head { purpose: Purpose::Refresh(user.public()), ..request.head.clone() };
        for (name, value) in [
            ("recipient secret", user.to_bytes().to_vec()),
            ("recipient_key", user.public().to_vec()),
            ("share", share().bytes().to_vec()),
            ("sealed share", sealed),
            ("party API secret", party.to_bytes().to_vec()),
            ("party API key", party.public().to_vec()),
            ("head to sign", encode(&request.head)),
            ("head to refresh", encode(&refresh)),
            ("sealed request", asked),
        ] {
            let line = format!("{name} = {}", hex(&value));
            assert!(documented.contains(&line), "docs/user-shares.md lacks: {line}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", share()), "UserShare");
        assert_eq!(format!("{:?}", RecipientKey::derive(&[1; 32])), "RecipientKey");
    }
}
