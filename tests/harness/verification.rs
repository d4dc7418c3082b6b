//! Signatures, verified by an implementation that did not sign.

use quorate_core::SchemeSignature;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId, Signature};
use secp256k1::{Message, PublicKey, Secp256k1};

use crate::embedded::Reply;

/// Whether an answer holds a signature of this digest under this public key, by libsecp256k1.
#[must_use]
pub fn is_signed_by(signed: &Reply, digest: [u8; 32], key: &[u8]) -> bool {
    let verified = || {
        let key = PublicKey::from_slice(key).ok()?;
        let signature = Signature::from_compact(&hex::decode(signed.text("signature")).ok()?).ok()?;
        Secp256k1::new().verify_ecdsa(Message::from_digest(digest), &signature, &key).ok()
    };
    signed.status == 200 && verified().is_some()
}

/// Verifies an ECDSA signature with libsecp256k1 (which refuses a high s) and recovers the key from it.
///
/// # Panics
/// When it does not verify.
pub fn assert_ecdsa(signature: &SchemeSignature, digest: [u8; 32], key: &[u8]) {
    let secp = Secp256k1::new();
    let key = PublicKey::from_slice(key).unwrap();
    let message = Message::from_digest(digest);
    let plain = Signature::from_compact(&signature.bytes).unwrap();
    secp.verify_ecdsa(message, &plain, &key).unwrap();
    let id = RecoveryId::try_from(i32::from(signature.recovery_id.unwrap())).unwrap();
    let recoverable = RecoverableSignature::from_compact(&signature.bytes, id).unwrap();
    assert_eq!(secp.recover_ecdsa(message, &recoverable).unwrap(), key);
}
