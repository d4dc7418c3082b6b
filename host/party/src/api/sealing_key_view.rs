//! A sealing key in the words of the party API.

use quorate_core::identity::{PublicKey, Signature};
use quorate_core::sealing_key::{SealingKey, SignedSealingKey};
use quorate_core::{SealingKeyId, UnixSeconds};
use serde::{Deserialize, Serialize};

/// A key that users seal their shares to, as the party API shows it.
#[derive(Debug, Serialize, Deserialize)]
pub struct SealingKeyView {
    /// Its id: 32 hexadecimal characters.
    key_id: String,
    /// The X25519 key: 64 hexadecimal characters.
    key: String,
    /// When it begins to serve, in seconds since 1970.
    not_before: u64,
    /// When it ends, in seconds since 1970.
    not_after: u64,
    /// The identity of the party that has signed it. A user compares it with the one that they pin.
    party: String,
    /// The party's signature, in hexadecimal characters.
    signature: String,
}

/// A key that is not as the party API shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not the answer of GET /api/v1/shares/key")]
pub struct MalformedSealingKey;

impl SealingKeyView {
    pub(super) fn of(signed: &SignedSealingKey, party: &PublicKey) -> Self {
        let SignedSealingKey { key, signature } = signed;
        Self {
            key_id: hex::encode(key.id.as_bytes()),
            key: hex::encode(key.key),
            not_before: key.not_before.0,
            not_after: key.not_after.0,
            party: party.to_string(),
            signature: hex::encode(signature.0),
        }
    }

    /// The signed key. Whose signature it is shows when it is opened.
    ///
    /// # Errors
    /// When a field is malformed.
    pub fn signed_key(&self) -> Result<SignedSealingKey, MalformedSealingKey> {
        Ok(SignedSealingKey {
            key: SealingKey {
                id: SealingKeyId(bytes(&self.key_id)?),
                key: bytes(&self.key)?,
                not_before: UnixSeconds(self.not_before),
                not_after: UnixSeconds(self.not_after),
            },
            signature: Signature(bytes(&self.signature)?),
        })
    }
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], MalformedSealingKey> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| MalformedSealingKey)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use quorate_core::identity::SecretKey;

    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_shown() {
        let party = SecretKey::from_seed(&[3; 32]);
        let key = SealingKey {
            id: SealingKeyId([1; 16]),
            key: [2; 32],
            not_before: UnixSeconds(5),
            not_after: UnixSeconds(6),
        };
        let signed = key.sign(&party);
        let shown = serde_json::to_string(&SealingKeyView::of(&signed, &party.public())).unwrap();
        let read: SealingKeyView = serde_json::from_str(&shown).unwrap();
        assert_eq!(read.signed_key(), Ok(signed));
        let cut = SealingKeyView { key_id: "01".into(), ..read };
        assert_eq!(cut.signed_key(), Err(MalformedSealingKey));
    }
}
