//! Verification by the host (rule 7): whether the right key has signed what an order asks for.
//!
//! ECDSA and BIP-340 are verified by libsecp256k1, Ed25519 by ring: no code of theirs is part of a plugin. An Ed25519 signature must
//! verify with ed25519-dalek too, which is stricter but computes on the curve with the code of the plugin.

use bitcoin::hashes::{Hash, sha256, sha256d};
use bitcoin::secp256k1::ecdsa::{RecoverableSignature, RecoveryId, Signature as Ecdsa};
use bitcoin::secp256k1::{Message, PublicKey, Secp256k1, XOnlyPublicKey, schnorr};
use ed25519_dalek::VerifyingKey;
use quorate_core::SchemeSignature;
use quorate_core::order::{HashFunction, Order, SignItem, SignItems};
use ring::signature::UnparsedPublicKey;
use sha3::{Digest as _, Keccak256};

use crate::error::SignatureError;
use crate::expected_key::ExpectedKey;

/// The digest that is signed for an item with ECDSA or BIP-340.
///
/// # Errors
/// [`SignatureError::NotCheckable`] when the message has no hash function and is not 32 bytes long.
pub fn digest(item: &SignItem) -> Result<[u8; 32], SignatureError> {
    let message = &item.message.0;
    Ok(match item.hash {
        HashFunction::None => {
            let digest = message.as_slice().try_into();
            digest.map_err(|_| SignatureError::NotCheckable("a digest is 32 bytes long"))?
        }
        HashFunction::Keccak256 => Keccak256::digest(message).into(),
        HashFunction::Sha256 => sha256::Hash::hash(message).to_byte_array(),
        HashFunction::Sha256d => sha256d::Hash::hash(message).to_byte_array(),
    })
}

/// Verifies the signatures of an order: one for each item, in their order.
///
/// # Errors
/// See [`SignatureError`]; a missing signature is a bad one.
pub fn verify_all(
    order: &Order,
    chain_code: Option<&[u8; 32]>,
    items: &SignItems,
    signatures: &[SchemeSignature],
) -> Result<(), SignatureError> {
    if items.all().len() != signatures.len() {
        return Err(SignatureError::BadSignature);
    }
    let (scheme, key) = (&order.spec.scheme, &order.public_key.0);
    let mut all = items.all().iter().zip(signatures);
    all.try_for_each(|(item, signature)| verify(scheme, key, chain_code, item, signature))
}

/// Verifies the signature of one item under the key that must have signed it ([`ExpectedKey::of`]).
///
/// ECDSA: with low s, and a recovery id that recovers that key. Ed25519: as RFC 8032 says and without multiplying by the cofactor,
/// so that every verifier accepts it.
///
/// # Errors
/// See [`SignatureError`].
pub fn verify(
    scheme: &str,
    key: &[u8],
    chain_code: Option<&[u8; 32]>,
    item: &SignItem,
    signature: &SchemeSignature,
) -> Result<(), SignatureError> {
    match ExpectedKey::of(scheme, key, chain_code, item)? {
        ExpectedKey::Ecdsa(key) => verify_ecdsa(&key, digest(item)?, signature),
        // Only ECDSA has a recovery id. An id elsewhere is refused, so that all parties report the same bytes.
        _ if signature.recovery_id.is_some() => Err(SignatureError::BadSignature),
        ExpectedKey::Ed25519(key) => verify_ed25519(&key, &item.message.0, signature),
        ExpectedKey::Bip340(key) => verify_bip340(&key, digest(item)?, signature),
    }
}

fn verify_ecdsa(
    key: &PublicKey,
    digest: [u8; 32],
    signature: &SchemeSignature,
) -> Result<(), SignatureError> {
    let bad = |_| SignatureError::BadSignature;
    let secp = Secp256k1::verification_only();
    let message = Message::from_digest(digest);
    let plain = Ecdsa::from_compact(&signature.bytes).map_err(bad)?;
    // libsecp256k1 accepts no high s.
    secp.verify_ecdsa(&message, &plain, key).map_err(bad)?;
    // Callers rely on it: Ethereum recovers the sender with it. 2 and 3 do not occur in practice.
    let id = signature.recovery_id.filter(|&id| id <= 1).ok_or(SignatureError::BadSignature)?;
    let id = RecoveryId::from_i32(id.into()).map_err(bad)?;
    let recoverable = RecoverableSignature::from_compact(&signature.bytes, id).map_err(bad)?;
    if secp.recover_ecdsa(&message, &recoverable).map_err(bad)? != *key {
        return Err(SignatureError::BadSignature);
    }
    Ok(())
}

fn verify_ed25519(
    key: &VerifyingKey,
    message: &[u8],
    signature: &SchemeSignature,
) -> Result<(), SignatureError> {
    let independent = UnparsedPublicKey::new(&ring::signature::ED25519, key.as_bytes());
    independent.verify(message, &signature.bytes).map_err(|_| SignatureError::BadSignature)?;
    let signature = ed25519_dalek::Signature::from_bytes(&signature.bytes);
    key.verify_strict(message, &signature).map_err(|_| SignatureError::BadSignature)
}

fn verify_bip340(
    key: &XOnlyPublicKey,
    digest: [u8; 32],
    signature: &SchemeSignature,
) -> Result<(), SignatureError> {
    let bad = |_| SignatureError::BadSignature;
    let signature = schnorr::Signature::from_slice(&signature.bytes).map_err(bad)?;
    let message = Message::from_digest(digest);
    Secp256k1::verification_only().verify_schnorr(&signature, &message, key).map_err(bad)
}

/// An ECDSA signature in DER; empty if it is not one.
#[must_use]
pub fn der(signature: &SchemeSignature) -> String {
    Ecdsa::from_compact(&signature.bytes).map(|ecdsa| ecdsa.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bitcoin::TapNodeHash;
    use bitcoin::key::TapTweak;
    use bitcoin::secp256k1::{Keypair, SecretKey};
    use curve25519_dalek::EdwardsPoint;
    use quorate_core::codec::Bytes;
    use quorate_core::order::{MAX_ORDER_LIFETIME, Operation, OrderTerms, Version};
    use quorate_core::{AccountId, KeySpec, OrderId, Threshold, UnixSeconds};

    use super::*;

    fn item(message: u8) -> SignItem {
        let message = Bytes(vec![message; 32]);
        SignItem { message, hash: HashFunction::None, path: vec![], merkle_root: None, presignatures: false }
    }

    /// A key, and its signature of 32 sevens, by libsecp256k1 itself.
    fn signed() -> (Vec<u8>, SchemeSignature) {
        let secp = Secp256k1::new();
        let secret = SecretKey::from_slice(&[1; 32]).unwrap();
        let recoverable = secp.sign_ecdsa_recoverable(&Message::from_digest([7; 32]), &secret);
        let (id, bytes) = recoverable.serialize_compact();
        let recovery_id = Some(u8::try_from(id.to_i32()).unwrap());
        (secret.public_key(&secp).serialize().to_vec(), SchemeSignature { bytes, recovery_id })
    }

    #[test]
    fn only_the_signature_of_this_key_for_this_message_is_accepted() {
        let (key, good) = signed();
        let check = |key: &[u8], message, signature: &SchemeSignature| {
            verify("ecdsa-secp256k1", key, None, &item(message), signature)
        };
        assert_eq!(check(&key, 7, &good), Ok(()));
        assert_eq!(check(&key, 8, &good), Err(SignatureError::BadSignature));
        let mut other_key = key.clone();
        other_key[0] ^= 1;
        assert_eq!(check(&other_key, 7, &good), Err(SignatureError::BadSignature));
        let other_parity = SchemeSignature { recovery_id: good.recovery_id.map(|id| id ^ 1), ..good.clone() };
        assert_eq!(check(&key, 7, &other_parity), Err(SignatureError::BadSignature));
        for recovery_id in [None, Some(2)] {
            let vague = SchemeSignature { recovery_id, ..good.clone() };
            assert_eq!(check(&key, 7, &vague), Err(SignatureError::BadSignature));
        }
        let mut flipped = good;
        flipped.bytes[40] ^= 1;
        assert_eq!(check(&key, 7, &flipped), Err(SignatureError::BadSignature));
    }

    #[test]
    fn every_item_of_an_order_has_its_own_signature() {
        let (key, good) = signed();
        let terms = OrderTerms {
            operation: Operation::Sign(item(7).into()),
            spec: KeySpec {
                account: AccountId([1; 16]),
                scheme: "ecdsa-secp256k1".into(),
                protocol: "dkls23".into(),
                threshold: Threshold::new(2, 2).unwrap(),
                parties: vec![],
                mandatory: vec![],
            },
            minimum_plugin: Version::default(),
            epoch: 1,
            share_set: None,
            public_key: key,
            recipient: None,
        };
        let order = Order::new(OrderId([1; 32]), terms, UnixSeconds(0), MAX_ORDER_LIFETIME);
        let twice = SignItems::new(vec![item(7), item(7)]).unwrap();
        let other = SignItems::new(vec![item(7), item(8)]).unwrap();
        let check = |items: &SignItems, signatures: &[SchemeSignature]| {
            verify_all(&order, None, items, signatures).is_ok()
        };
        let both = [good.clone(), good.clone()];
        assert!(check(&item(7).into(), &both[..1]) && check(&twice, &both));
        assert!(!check(&twice, &both[..1]) && !check(&item(7).into(), &both) && !check(&twice, &[]));
        assert!(!check(&other, &both), "the second item is signed with the first one's signature");
    }

    #[test]
    fn every_hash_function_is_the_one_that_is_named() {
        let abc =
            |hash| digest(&SignItem { message: Bytes(b"abc".to_vec()), hash, ..item(0) }).map(hex::encode);
        for (hash, known) in [
            (HashFunction::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (HashFunction::Sha256d, "4f8b42c22dd3729b519ba6f68d2da7cc5b2d606d05daed5ad5128cc03e6c6358"),
            (HashFunction::Keccak256, "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
        ] {
            assert_eq!(abc(hash).as_deref(), Ok(known), "{hash:?}");
        }
    }

    #[test]
    fn an_ed25519_signature_is_of_the_message_itself() {
        use ed25519_dalek::Signer;
        let secret = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
        let key = secret.verifying_key().to_bytes();
        let signature = SchemeSignature { bytes: secret.sign(&[7; 32]).to_bytes(), recovery_id: None };
        let check = |item: &SignItem| verify("ed25519", &key, None, item, &signature);
        assert_eq!(check(&item(7)), Ok(()));
        assert_eq!(check(&item(8)), Err(SignatureError::BadSignature));
        let hashed = SignItem { hash: HashFunction::Sha256, ..item(7) };
        assert!(matches!(check(&hashed), Err(SignatureError::NotCheckable(_))));
    }

    #[test]
    fn an_ed25519_signature_that_some_verifiers_accept_and_others_refuse_is_refused() {
        use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
        use curve25519_dalek::scalar::Scalar;
        use sha2::{Digest, Sha512};

        let secret = Scalar::from(7_u8);
        let key = ED25519_BASEPOINT_POINT * secret;
        // A signature of 32 sevens under `key`, whose nonce point has `torsion` added.
        let sign = |key: &EdwardsPoint, nonce: Scalar, torsion: EdwardsPoint| {
            let point = (ED25519_BASEPOINT_POINT * nonce + torsion).compress().to_bytes();
            let hash = Sha512::new().chain_update(point).chain_update(key.compress().as_bytes());
            let challenge = Scalar::from_bytes_mod_order_wide(&hash.chain_update([7; 32]).finalize().into());
            let mut bytes = [0; 64];
            bytes[..32].copy_from_slice(&point);
            bytes[32..].copy_from_slice((nonce + challenge * secret).as_bytes());
            bytes
        };
        let check = |key: &EdwardsPoint, bytes: [u8; 64]| {
            let signature = SchemeSignature { bytes, recovery_id: None };
            verify("ed25519", key.compress().as_bytes(), None, &item(7), &signature)
        };
        let nonce = Scalar::from(9_u8);
        let good = sign(&key, nonce, EIGHT_TORSION[0]);
        assert_eq!(check(&key, good), Ok(()));

        let mut malleable = good;
        let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
        let mut carry = 0;
        for (byte, added) in malleable[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(added) + carry;
            (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
        }
        let with_torsion = key + EIGHT_TORSION[1];
        for (what, key, signature) in [
            ("s + L", key, malleable),
            ("R with torsion", key, sign(&key, nonce, EIGHT_TORSION[1])),
            ("R of small order", key, sign(&key, Scalar::ZERO, EIGHT_TORSION[1])),
            ("R neutral", key, sign(&key, Scalar::ZERO, EIGHT_TORSION[0])),
        ] {
            assert_eq!(check(&key, signature), Err(SignatureError::BadSignature), "{what}");
        }
        for (what, key) in [("A of small order", EIGHT_TORSION[1]), ("A with torsion", with_torsion)] {
            let refused = check(&key, sign(&key, nonce, EIGHT_TORSION[0]));
            assert!(matches!(refused, Err(SignatureError::NotCheckable(_))), "{what}: {refused:?}");
        }
        let with_id = SchemeSignature { bytes: good, recovery_id: Some(0) };
        let checked = verify("ed25519", key.compress().as_bytes(), None, &item(7), &with_id);
        assert_eq!(checked, Err(SignatureError::BadSignature));
    }

    #[test]
    fn a_taproot_signature_is_under_the_key_or_under_the_output_key_of_the_root() {
        let secp = Secp256k1::new();
        let pair = Keypair::from_seckey_slice(&secp, &[3; 32]).unwrap();
        let key = pair.x_only_public_key().0.serialize();
        let tweaked = pair.tap_tweak(&secp, Some(TapNodeHash::from_byte_array([9; 32]))).to_keypair();
        let sign = |pair: &Keypair| {
            let bytes = secp.sign_schnorr_no_aux_rand(&Message::from_digest([7; 32]), pair).serialize();
            SchemeSignature { bytes, recovery_id: None }
        };
        let (own, output) = (sign(&pair), sign(&tweaked));
        let check =
            |item: &SignItem, signature: &SchemeSignature| verify("bip340", &key, None, item, signature);
        let with_root = |root| SignItem { merkle_root: Some([root; 32]), ..item(7) };
        let bad = Err(SignatureError::BadSignature);
        assert_eq!(check(&item(7), &own), Ok(()));
        assert_eq!(check(&with_root(9), &output), Ok(()));
        assert_eq!(check(&item(8), &own), bad);
        assert_eq!(check(&item(7), &output), bad);
        assert_eq!(check(&with_root(9), &own), bad);
        assert_eq!(check(&with_root(8), &output), bad);
        // r not below the field's prime, s not below the group's order.
        for half in [0..32, 32..64] {
            let mut too_large = own.clone();
            too_large.bytes[half].fill(0xff);
            assert_eq!(check(&item(7), &too_large), bad);
        }
        let with_id = SchemeSignature { recovery_id: Some(1), ..own };
        assert_eq!(check(&item(7), &with_id), bad);
    }

    #[test]
    fn what_can_not_be_checked_is_not_accepted() {
        let (key, good) = signed();
        let ed25519 = ed25519_dalek::SigningKey::from_bytes(&[5; 32]).verifying_key().to_bytes();
        let path = SignItem { path: vec![1], ..item(7) };
        let with_root = SignItem { merkle_root: Some([1; 32]), ..item(7) };
        let short = SignItem { message: Bytes(vec![7; 31]), ..item(7) };
        for (scheme, item) in [
            ("ecdsa-secp256k1", path.clone()),
            ("ecdsa-secp256k1", with_root.clone()),
            ("ecdsa-secp256k1", short.clone()),
            ("bip340", short),
            ("bip340", path.clone()),
            ("ed25519", path),
            ("ed25519", with_root),
            ("another", item(7)),
        ] {
            let key = match scheme {
                "ed25519" => &ed25519,
                "bip340" => &key[1..],
                _ => &key[..],
            };
            let refused = verify(scheme, key, None, &item, &SchemeSignature { recovery_id: None, ..good });
            assert!(matches!(refused, Err(SignatureError::NotCheckable(_))), "{refused:?}");
        }
    }
}
