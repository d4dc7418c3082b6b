//! Schnorr signatures in answers, verified by ed25519-dalek and libsecp256k1.

use bitcoin::secp256k1::{Message, Secp256k1, XOnlyPublicKey, schnorr};
use ed25519_dalek::VerifyingKey;
use quorate_tests::embedded::Reply;

/// Bytes in hex.
pub(crate) fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// Verifies an Ed25519 signature under a key, strictly.
pub(crate) fn assert_ed25519(signed: &Reply, message: &[u8], key: &str) {
    let verifying = VerifyingKey::from_bytes(&bytes(key)).unwrap();
    let signature = ed25519_dalek::Signature::from_bytes(&bytes(signed.text("signature")));
    verifying.verify_strict(message, &signature).unwrap();
    assert_eq!(signed.text("public_key"), key);
    for absent in ["digest", "recovery_id", "der"] {
        assert!(signed.body.get(absent).is_none(), "{absent}: {}", signed.body);
    }
}

/// Verifies a BIP-340 signature under a key.
pub(crate) fn assert_bip340(signed: &Reply, digest: [u8; 32], key: XOnlyPublicKey) {
    let signature = schnorr::Signature::from_slice(&bytes::<64>(signed.text("signature"))).unwrap();
    let secp = Secp256k1::verification_only();
    secp.verify_schnorr(&signature, &Message::from_digest(digest), &key).unwrap();
    assert_eq!(signed.text("public_key"), hex::encode(key.serialize()));
    assert_eq!(signed.text("digest"), hex::encode(digest));
    for absent in ["recovery_id", "der"] {
        assert!(signed.body.get(absent).is_none(), "{absent}: {}", signed.body);
    }
}
