//! Sealing to a recipient's key: HPKE (RFC 9180, base mode) with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and
//! ChaCha20-Poly1305, as on the way between parties.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use hpke::{Deserializable, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal_with_rng};
use zeroize::Zeroizing;

use crate::codec::Malformed;
use crate::hpke_suite::{
    ChaCha20Poly1305, ENCAPSULATED_KEY_BYTES, EncapsulatedKey, HkdfSha256, Kem, PrivateKey,
    RecipientPublicKey, X25519HkdfSha256,
};
use crate::wiped_stack::on_wiped_stack;

/// Why sealed bytes do not open, or nothing can be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// They are of another kind, of a newer version, or damaged.
    #[error("this is not what was expected here, or it was damaged")]
    Malformed,
    /// They were sealed to another key, or changed.
    #[error("it was sealed to another key, or changed since")]
    Sealed,
    /// The key to seal to is malformed.
    #[error("the key to seal to is not an X25519 key")]
    Key,
}

impl From<Malformed> for OpenError {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

/// A key that shares or requests are sealed to: on the heap, so that no copy stays behind where it was moved from. The library
/// wipes it when it is dropped.
pub struct RecipientKey {
    secret: Box<PrivateKey>,
    public: [u8; 32],
}

impl RecipientKey {
    /// The key that comes from 32 bytes of good randomness or key material (RFC 9180, `DeriveKeyPair`).
    #[must_use]
    pub fn derive(material: &[u8; 32]) -> Self {
        on_wiped_stack(|| Self::of(X25519HkdfSha256::derive_keypair(material).0))
    }

    /// The key of these 32 bytes (RFC 7748).
    ///
    /// # Errors
    /// When they are no key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, OpenError> {
        on_wiped_stack(|| PrivateKey::from_bytes(bytes).map(Self::of)).map_err(|_| OpenError::Key)
    }

    fn of(secret: PrivateKey) -> Self {
        let public = X25519HkdfSha256::sk_to_pk(&secret).to_bytes().into();
        Self { secret: Box::new(secret), public }
    }

    /// The key's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        on_wiped_stack(|| Zeroizing::new(self.secret.to_bytes().to_vec()))
    }

    /// Whether something can be sealed to a key. Points of small order give no secret.
    #[must_use]
    pub fn is_valid(recipient: &[u8; 32]) -> bool {
        seal(recipient, &[], vec![], &[], &[0; 32]).is_ok()
    }

    /// Its public side.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.public
    }
}

impl core::fmt::Debug for RecipientKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RecipientKey")
    }
}

/// Seals to a recipient. Returns the header, the encapsulated key and the ciphertext; the header is authenticated.
/// `seed` is fresh randomness.
///
/// # Errors
/// [`OpenError::Key`] when the recipient is not a key.
pub(crate) fn seal(
    recipient: &[u8; 32],
    info: &[u8],
    header: Vec<u8>,
    plain: &[u8],
    seed: &[u8; 32],
) -> Result<Vec<u8>, OpenError> {
    let recipient = RecipientPublicKey::from_bytes(recipient).map_err(|_| OpenError::Key)?;
    let (encapsulated, ciphertext) = on_wiped_stack(|| {
        let mut random = ChaCha20Rng::from_seed(*seed);
        single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &recipient,
            info,
            plain,
            &header,
            &mut random,
        )
        .map_err(|_| OpenError::Key)
    })?;
    Ok([header.as_slice(), encapsulated.to_bytes().as_slice(), &ciphertext].concat())
}

/// Opens an encapsulated key and a ciphertext.
///
/// # Errors
/// [`OpenError::Malformed`] when they are too short, [`OpenError::Sealed`] when they are for another key or were
/// changed.
pub(crate) fn open(
    key: &RecipientKey,
    info: &[u8],
    header: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (encapsulated, ciphertext) =
        sealed.split_at_checked(ENCAPSULATED_KEY_BYTES).ok_or(OpenError::Malformed)?;
    let encapsulated = EncapsulatedKey::from_bytes(encapsulated).map_err(|_| OpenError::Malformed)?;
    let opened = on_wiped_stack(|| {
        single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            key.secret.as_ref(),
            &encapsulated,
            info,
            ciphertext,
            header,
        )
    });
    opened.map(Zeroizing::new).map_err(|_| OpenError::Sealed)
}
