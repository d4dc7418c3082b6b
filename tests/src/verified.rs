//! Signatures, verified by an implementation that did not sign.

use secp256k1::ecdsa::Signature;
use secp256k1::{Message, PublicKey, Secp256k1};

use crate::deployment::Reply;

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
