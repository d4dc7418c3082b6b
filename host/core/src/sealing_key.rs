//! The keys of the users' party that users seal their shares to. Each is random and serves for a time; the party signs it,
//! so that no process between the party and a user can put another one in its place.

use crate::codec::{encode, wire_struct};
use crate::identity::{BadSignature, PublicKey, SecretKey, Signature, Tag};
use crate::ids::SealingKeyId;
use crate::order::MAX_CLOCK_SKEW;
use crate::time::UnixSeconds;

/// A key that users seal their shares to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealingKey {
    /// Its id, which goes with what is sealed to it.
    pub id: SealingKeyId,
    /// The X25519 key.
    pub key: [u8; 32],
    /// When it begins to serve.
    pub not_before: UnixSeconds,
    /// When it ends: what was sealed to it opens no more.
    pub not_after: UnixSeconds,
}

wire_struct!(SealingKey { id, key, not_before, not_after });

/// A sealing key with the signature of its party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedSealingKey {
    /// The key.
    pub key: SealingKey,
    /// The party's signature over the key.
    pub signature: Signature,
}

/// Why a user seals nothing to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealingKeyRefused {
    /// Another party has signed it, or nobody.
    #[error("the sealing key is not signed by this party")]
    NotSigned,
    /// It begins later.
    #[error("the sealing key is not valid yet: compare the clocks")]
    NotYet,
    /// Its time is over.
    #[error("the time of the sealing key is over: fetch the current one from the party API")]
    Expired,
}

impl SealingKey {
    /// Signs the key.
    #[must_use]
    pub fn sign(self, party: &SecretKey) -> SignedSealingKey {
        let signature = party.sign(Tag::SealingKey, &encode(&self));
        SignedSealingKey { key: self, signature }
    }
}

impl SignedSealingKey {
    /// The key, if this party has signed it and it serves at this time.
    ///
    /// # Errors
    /// See [`SealingKeyRefused`].
    pub fn open(&self, party: &PublicKey, now: UnixSeconds) -> Result<&SealingKey, SealingKeyRefused> {
        let Self { key, signature } = self;
        party
            .verify(Tag::SealingKey, &encode(key), signature)
            .map_err(|BadSignature| SealingKeyRefused::NotSigned)?;
        if key.not_before > now + MAX_CLOCK_SKEW {
            return Err(SealingKeyRefused::NotYet);
        }
        if now >= key.not_after {
            return Err(SealingKeyRefused::Expired);
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const BEGIN: UnixSeconds = UnixSeconds(1_800_000_000);
    const END: UnixSeconds = UnixSeconds(1_800_086_400);

    fn party() -> SecretKey {
        SecretKey::from_seed(&[3; 32])
    }

    fn signed() -> SignedSealingKey {
        let key = SealingKey { id: SealingKeyId([1; 16]), key: [2; 32], not_before: BEGIN, not_after: END };
        key.sign(&party())
    }

    #[test]
    fn a_key_is_used_in_its_time_only() {
        let at = |now| signed().open(&party().public(), now).err();
        assert_eq!(at(BEGIN), None);
        assert_eq!(at(END - SECOND), None);
        assert_eq!(at(END), Some(SealingKeyRefused::Expired));
        assert_eq!(at(BEGIN - MAX_CLOCK_SKEW), None);
        assert_eq!(at(BEGIN - MAX_CLOCK_SKEW - SECOND), Some(SealingKeyRefused::NotYet));
    }

    #[test]
    fn nothing_is_sealed_to_a_key_that_its_party_has_not_signed() {
        let good = signed();
        let other = SecretKey::from_seed(&[4; 32]).public();
        assert_eq!(good.open(&other, BEGIN), Err(SealingKeyRefused::NotSigned));
        for change in [
            |key: &mut SealingKey| key.id.0[0] ^= 1,
            |key: &mut SealingKey| key.key[0] ^= 1,
            |key: &mut SealingKey| key.not_before = key.not_before - SECOND,
            |key: &mut SealingKey| key.not_after = key.not_after + SECOND,
        ] {
            let mut changed = good.clone();
            change(&mut changed.key);
            assert_eq!(changed.open(&party().public(), BEGIN), Err(SealingKeyRefused::NotSigned));
        }
    }
}
