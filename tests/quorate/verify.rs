//! Verification by libraries that share no code with the ones that sign.

use quorate_runtime::{PublicKeyInfo, Signature};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId, Signature as Ecdsa};
use secp256k1::{Message, PublicKey, Secp256k1};

/// Verifies an ECDSA signature with libsecp256k1 (which refuses a high s) and recovers the key from it.
pub(crate) fn assert_ecdsa(signature: &Signature, digest: [u8; 32], key: &PublicKeyInfo) {
    let secp = Secp256k1::new();
    let key = PublicKey::from_slice(&key.public_key).unwrap();
    let message = Message::from_digest(digest);
    let plain = Ecdsa::from_compact(&signature.bytes).unwrap();
    secp.verify_ecdsa(message, &plain, &key).unwrap();
    let id = RecoveryId::try_from(i32::from(signature.recovery_id.unwrap())).unwrap();
    let recoverable = RecoverableSignature::from_compact(&signature.bytes, id).unwrap();
    assert_eq!(secp.recover_ecdsa(message, &recoverable).unwrap(), key);
}
