//! The public key under which the signature of an item must verify (rule 7). The host derives it from what it has stored; a plugin
//! never names it.
//!
//! Child keys and Taproot's output keys are computed by rust-bitcoin.

use bitcoin::bip32::{ChainCode, ChildNumber, Fingerprint, Xpub};
use bitcoin::hashes::Hash;
use bitcoin::key::TapTweak;
use bitcoin::secp256k1::{PublicKey, Secp256k1, XOnlyPublicKey};
use bitcoin::{NetworkKind, TapNodeHash};
use ed25519_dalek::VerifyingKey;
use quorate_core::order::SignItem;

use crate::error::SignatureError;

const NOT_A_KEY: SignatureError =
    SignatureError::NotCheckable("the stored public key is not a valid curve point");

/// The public key under which the signature of an item must verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedKey {
    /// The account's key, or its child at the item's path.
    Ecdsa(PublicKey),
    /// The account's key.
    Ed25519(VerifyingKey),
    /// The account's key; with a merkle root the output key that it makes with it as internal key (BIP-341).
    Bip340(XOnlyPublicKey),
}

impl ExpectedKey {
    /// The key for an item; `key` and `chain_code` are the account's.
    ///
    /// # Errors
    /// [`SignatureError::NotCheckable`] when the scheme is unknown or knows no such item, or when there is no such key.
    pub fn of(
        scheme: &str,
        key: &[u8],
        chain_code: Option<&[u8; 32]>,
        item: &SignItem,
    ) -> Result<Self, SignatureError> {
        if let Some(objection) = item.objection(scheme) {
            return Err(SignatureError::NotCheckable(objection.reason()));
        }
        match scheme {
            "ecdsa-secp256k1" => Ok(Self::Ecdsa(child_key(key, chain_code, &item.path)?)),
            "ed25519" => canonical_ed25519_key(key).map(Self::Ed25519).ok_or(NOT_A_KEY),
            "bip340" => {
                let key = XOnlyPublicKey::from_slice(key).map_err(|_| NOT_A_KEY)?;
                Ok(Self::Bip340(item.merkle_root.map_or(key, |root| output_key(key, root))))
            }
            _ => Err(SignatureError::NotCheckable("this host does not know the scheme")),
        }
    }

    /// The key in the encoding of its scheme: 33 bytes for ECDSA, 32 for the others.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Ecdsa(key) => key.serialize().to_vec(),
            Self::Ed25519(key) => key.to_bytes().to_vec(),
            Self::Bip340(key) => key.serialize().to_vec(),
        }
    }
}

/// The output key that an internal key makes with a merkle root (BIP-341).
#[must_use]
pub(crate) fn output_key(internal: XOnlyPublicKey, merkle_root: [u8; 32]) -> XOnlyPublicKey {
    let root = TapNodeHash::from_byte_array(merkle_root);
    let (output, _) = internal.tap_tweak(&Secp256k1::verification_only(), Some(root));
    output.to_x_only_public_key()
}

/// The child at `path` (BIP-32, non-hardened).
fn child_key(key: &[u8], chain_code: Option<&[u8; 32]>, path: &[u32]) -> Result<PublicKey, SignatureError> {
    let key = PublicKey::from_slice(key).map_err(|_| NOT_A_KEY)?;
    if path.is_empty() {
        return Ok(key);
    }
    let no_child = |_| SignatureError::NotCheckable("there is no such child key");
    let chain_code = chain_code.ok_or(SignatureError::NotCheckable("the key has no chain code"))?;
    let path = path
        .iter()
        .map(|&n| ChildNumber::from_normal_idx(n))
        .collect::<Result<Vec<_>, _>>()
        .map_err(no_child)?;
    let root = Xpub {
        network: NetworkKind::Main,
        depth: 0,
        parent_fingerprint: Fingerprint::default(),
        child_number: ChildNumber::Normal { index: 0 },
        public_key: key,
        chain_code: ChainCode::from(*chain_code),
    };
    Ok(root.derive_pub(&Secp256k1::verification_only(), &path).map_err(no_child)?.public_key)
}

/// Whether bytes are the one encoding of a public key of a scheme that can be signed with. SEC 1 compressed for ECDSA, RFC 8032
/// for Ed25519, where it must be of the prime-order group so that all verifiers agree, BIP 340 for Schnorr signatures.
#[must_use]
pub fn is_canonical_key(scheme: &str, key: &[u8]) -> bool {
    match scheme {
        "ecdsa-secp256k1" => key.len() == 33 && PublicKey::from_slice(key).is_ok(),
        "bip340" => XOnlyPublicKey::from_slice(key).is_ok(),
        "ed25519" => canonical_ed25519_key(key).is_some(),
        _ => false,
    }
}

fn canonical_ed25519_key(bytes: &[u8]) -> Option<VerifyingKey> {
    let key = VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
    let point = key.to_edwards();
    let is_canonical = !key.is_weak() && point.is_torsion_free() && point.compress().as_bytes() == bytes;
    is_canonical.then_some(key)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_encoding() {
        // The generators of both curves.
        let secp = hex::decode("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798").unwrap();
        let edwards =
            hex::decode("5866666666666666666666666666666666666666666666666666666666666666").unwrap();
        assert!(is_canonical_key("ecdsa-secp256k1", &secp));
        assert!(is_canonical_key("bip340", &secp[1..]));
        assert!(is_canonical_key("ed25519", &edwards));
        let uncompressed = PublicKey::from_slice(&secp).unwrap().serialize_uncompressed();
        // y = p + 1, which is 1; and 1 itself, the neutral element.
        let mut not_reduced = [0xff; 32];
        (not_reduced[0], not_reduced[31]) = (0xee, 0x7f);
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let torsion = curve25519_dalek::constants::EIGHT_TORSION[1];
        let with_torsion = curve25519_dalek::constants::ED25519_BASEPOINT_POINT + torsion;
        let with_torsion = with_torsion.compress().to_bytes();
        for (scheme, key) in [
            ("ecdsa-secp256k1", uncompressed.to_vec()),
            ("ecdsa-secp256k1", secp[1..].to_vec()),
            ("ecdsa-secp256k1", vec![2; 32]),
            ("bip340", secp.clone()),
            ("bip340", vec![0xff; 32]),
            ("ed25519", not_reduced.to_vec()),
            ("ed25519", neutral.to_vec()),
            ("ed25519", with_torsion.to_vec()),
            ("ed25519", secp.clone()),
            ("another", secp.clone()),
        ] {
            assert!(!is_canonical_key(scheme, &key), "{scheme} {}", hex::encode(key));
        }
    }
}
