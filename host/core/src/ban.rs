//! Bans (rule 8): a party's word that it never works again with another on one share set of an account.

use crate::PartyIndex;
use crate::codec::{encode, wire_struct};
use crate::identity::{BadSignature, PublicKey, SecretKey, Signature, Tag};
use crate::ids::{AccountId, PlanHash, SessionId};

/// A ban. It names indices, not identities: a new identity key of the same party does not lift it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The account.
    pub account: AccountId,
    /// The share set, by the plan that made it.
    pub share_set: PlanHash,
    /// The party that has decided it.
    pub by: PartyIndex,
    /// The party that is banned.
    pub banned: PartyIndex,
    /// The session in which the banned party cheated.
    pub session: SessionId,
}

wire_struct!(Ban { account, share_set, by, banned, session });

/// A ban as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBan {
    /// The signed content.
    pub ban: Ban,
    signature: Signature,
}

wire_struct!(SignedBan { ban, signature });

impl Ban {
    /// Signs the ban.
    #[must_use]
    pub fn sign(self, key: &SecretKey) -> SignedBan {
        let signature = key.sign(Tag::Ban, &encode(&self));
        SignedBan { ban: self, signature }
    }
}

impl SignedBan {
    /// Verifies that `key` said it.
    ///
    /// # Errors
    /// When it did not.
    pub fn verify(&self, key: &PublicKey) -> Result<(), BadSignature> {
        key.verify(Tag::Ban, &encode(&self.ban), &self.signature)
    }
}
