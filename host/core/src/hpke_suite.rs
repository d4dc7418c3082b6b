//! The suite of HPKE (RFC 9180) for all that is sealed to a party or a user: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256
//! and ChaCha20-Poly1305.

pub(crate) use hpke::aead::ChaCha20Poly1305;
pub(crate) use hpke::kdf::HkdfSha256;
pub(crate) use hpke::kem::{Kem, X25519HkdfSha256};

pub(crate) type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
pub(crate) type RecipientPublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
pub(crate) type EncapsulatedKey = <X25519HkdfSha256 as Kem>::EncappedKey;

/// The length of an encapsulated key, in bytes.
pub(crate) const ENCAPSULATED_KEY_BYTES: usize = 32;
