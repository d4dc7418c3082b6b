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

/// The signature of an answer.
///
/// # Panics
/// When the answer has none.
#[must_use]
pub fn signature_of(reply: &Reply) -> SchemeSignature {
    let bytes = hex::decode(reply.text("signature")).unwrap().try_into().unwrap();
    let recovery_id = reply.body["recovery_id"].as_u64().map(|id| u8::try_from(id).unwrap());
    SchemeSignature { bytes, recovery_id }
}

/// Verifies every form of the signature in an answer, under the key that the answer names.
///
/// # Panics
/// When one of them does not verify.
pub fn assert_signs(reply: &Reply, digest: [u8; 32]) {
    let key = hex::decode(reply.text("public_key")).unwrap();
    assert_eq!(reply.text("digest"), hex::encode(digest));
    assert_ecdsa(&signature_of(reply), digest, &key);
    let (r, s) = (reply.text("r"), reply.text("s"));
    assert_eq!(format!("{r}{s}"), reply.text("signature"));
    let der = Signature::from_der(&hex::decode(reply.text("der")).unwrap()).unwrap();
    assert_eq!(der.serialize_compact(), signature_of(reply).bytes);
}

/// Verifies the signature in an answer, under this key.
///
/// # Panics
/// When it does not verify.
pub fn assert_signed_by(signed: &Reply, digest: [u8; 32], key: &[u8]) {
    assert_signs(signed, digest);
    assert_eq!(signed.text("public_key"), hex::encode(key));
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
