//! Verification by the host (rule 7): which key must have signed what, and whether it has.
//!
//! Child keys and ECDSA are computed by rust-bitcoin and libsecp256k1, Ed25519 by ed25519-dalek: none of them is part
//! of a plugin.

use bitcoin::NetworkKind;
use bitcoin::bip32::{ChainCode, ChildNumber, Fingerprint, Xpub};
use bitcoin::hashes::{Hash, sha256, sha256d};
use bitcoin::secp256k1::ecdsa::{RecoverableSignature, RecoveryId, Signature as Ecdsa};
use bitcoin::secp256k1::{Message, PublicKey, Secp256k1, XOnlyPublicKey};
use quorate_core::SchemeSignature;
use quorate_core::order::{HashFunction, Order, SignItem, SignItems};
use sha3::{Digest as _, Keccak256};

/// Why a signature is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It does not verify under the expected key: the plugin is not to be trusted.
    #[error("the signature does not verify")]
    BadSignature,
    /// The order asks for what can't be checked: an unknown scheme, a malformed digest, a path without chain code.
    #[error("the signature can't be checked: {0}")]
    NotCheckable(&'static str),
}

/// The digest that an ECDSA order is about.
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

/// The compressed public key of the child at `path` (BIP-32, non-hardened).
///
/// # Errors
/// [`SignatureError::NotCheckable`] when there is no chain code, or no such child.
pub fn child_key(
    key: &[u8],
    chain_code: Option<&[u8; 32]>,
    path: &[u32],
) -> Result<PublicKey, SignatureError> {
    let key = PublicKey::from_slice(key)
        .map_err(|_| SignatureError::NotCheckable("the stored public key is not a valid curve point"))?;
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

/// Verifies the signature of one item: under the account's key or its child, low s, and with a recovery id that recovers
/// that key.
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
    if item.tweak.is_some() {
        return Err(SignatureError::NotCheckable("this host knows no scheme with a tweak"));
    }
    match scheme {
        "ecdsa-secp256k1" => {
            let key = child_key(key, chain_code, &item.path)?;
            verify_ecdsa(&key, digest(item)?, signature)
        }
        "ed25519" if item.hash != HashFunction::None || !item.path.is_empty() => {
            Err(SignatureError::NotCheckable("ed25519 signs the message itself, with the account's own key"))
        }
        "ed25519" => verify_ed25519(key, &item.message.0, signature),
        _ => Err(SignatureError::NotCheckable("this host does not know the scheme")),
    }
}

/// Whether bytes are the one encoding of a public key of a scheme that can be signed with. SEC 1 compressed for ECDSA, RFC 8032
/// for Ed25519, BIP 340 for Schnorr signatures.
#[must_use]
pub fn is_canonical_key(scheme: &str, key: &[u8]) -> bool {
    match scheme {
        "ecdsa-secp256k1" => key.len() == 33 && PublicKey::from_slice(key).is_ok(),
        "bip340" => XOnlyPublicKey::from_slice(key).is_ok(),
        "ed25519" => {
            let Ok(bytes) = key.try_into() else { return false };
            ed25519_dalek::VerifyingKey::from_bytes(bytes)
                .is_ok_and(|key| !key.is_weak() && key.to_edwards().compress().as_bytes() == bytes)
        }
        _ => false,
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

fn verify_ed25519(key: &[u8], message: &[u8], signature: &SchemeSignature) -> Result<(), SignatureError> {
    let key = key
        .try_into()
        .map_err(|_| SignatureError::NotCheckable("the stored public key is not a valid curve point"))?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(key)
        .map_err(|_| SignatureError::NotCheckable("the stored public key is not a valid curve point"))?;
    let signature = ed25519_dalek::Signature::from_bytes(&signature.bytes);
    key.verify_strict(message, &signature).map_err(|_| SignatureError::BadSignature)
}

/// An ECDSA signature in DER; empty if it is not one.
#[must_use]
pub fn der(signature: &SchemeSignature) -> String {
    Ecdsa::from_compact(&signature.bytes).map(|ecdsa| ecdsa.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bitcoin::secp256k1::SecretKey;
    use quorate_core::codec::Bytes;

    use quorate_core::order::{MAX_ORDER_LIFETIME, Operation, OrderTerms, Version};
    use quorate_core::{AccountId, KeySpec, OrderId, Threshold, UnixSeconds};

    use super::*;

    fn item(message: u8) -> SignItem {
        let message = Bytes(vec![message; 32]);
        SignItem { message, hash: HashFunction::None, path: vec![], tweak: None, presignatures: false }
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
    fn what_can_not_be_checked_is_not_accepted() {
        let (key, good) = signed();
        let path = SignItem { path: vec![1], ..item(7) };
        let tweaked = SignItem { tweak: Some([1; 32]), ..item(7) };
        let short = SignItem { message: Bytes(vec![7; 31]), ..item(7) };
        for (scheme, item) in [
            ("ecdsa-secp256k1", path),
            ("ecdsa-secp256k1", tweaked),
            ("ecdsa-secp256k1", short),
            ("bip340", item(7)),
        ] {
            let refused = verify(scheme, &key, None, &item, &good);
            assert!(matches!(refused, Err(SignatureError::NotCheckable(_))), "{refused:?}");
        }
    }

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
        for (scheme, key) in [
            ("ecdsa-secp256k1", uncompressed.to_vec()),
            ("ecdsa-secp256k1", secp[1..].to_vec()),
            ("ecdsa-secp256k1", vec![2; 32]),
            ("bip340", secp.clone()),
            ("bip340", vec![0xff; 32]),
            ("ed25519", not_reduced.to_vec()),
            ("ed25519", neutral.to_vec()),
            ("ed25519", secp.clone()),
            ("another", secp.clone()),
        ] {
            assert!(!is_canonical_key(scheme, &key), "{scheme} {}", hex::encode(key));
        }
    }
}
