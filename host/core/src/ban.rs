//! Bans (rule 8): a party's word that it never works again with another on one share set of an account.

use core::time::Duration;

use crate::codec::{encode, wire_struct};
use crate::identity::{BadSignature, PublicKey, SecretKey, Signature, Tag};
use crate::ids::{AccountId, PlanHash, SessionId};
use crate::{PartyIndex, Threshold, UnixSeconds};

/// How many bans on one share set there can be: each party bans each other.
pub const MAX_BANS: usize = Threshold::MAX_PARTIES as usize * (Threshold::MAX_PARTIES as usize - 1);

/// How long after it was made a party takes an export.
const MAX_EXPORT_AGE: Duration = Duration::from_secs(86_400);

/// A ban. It names indices, not identities: a new identity key of the same party does not lift it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The account.
    pub account: AccountId,
    /// The share set, by the plan that made it; `None` if the party cheated in the account's keygen.
    pub share_set: Option<PlanHash>,
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

/// All bans that a party keeps of the accounts of another one, for that one. It was set back to an earlier state, and may have
/// lost bans that it has decided since (rule 8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanExport {
    /// The party that keeps them.
    pub by: PublicKey,
    /// The party that they are for.
    pub to: PublicKey,
    /// When they were read.
    pub at: UnixSeconds,
    /// The bans.
    pub bans: Vec<SignedBan>,
}

wire_struct!(BanExport { by, to, at, bans });

/// An export as it travels, from operator to operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBanExport {
    export: BanExport,
    signature: Signature,
}

wire_struct!(SignedBanExport { export, signature });

/// Why a party does not take an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportRefused {
    /// It is for another party.
    #[error("an export of bans is for party {0}, not for this one")]
    ForAnother(PublicKey),
    /// It is not from now.
    #[error(
        "the export of bans of party {0} was made more than a day ago, or a clock is wrong: its operator makes a new one"
    )]
    Old(PublicKey),
    /// Its signature does not verify.
    #[error("the export of bans of party {0} is not signed by it")]
    Signature(PublicKey),
}

impl BanExport {
    /// Signs it.
    #[must_use]
    pub fn sign(self, key: &SecretKey) -> SignedBanExport {
        let signature = key.sign(Tag::BanExport, &encode(&self));
        SignedBanExport { export: self, signature }
    }
}

impl SignedBanExport {
    /// What it says, for the party `to` at the time `now`.
    ///
    /// # Errors
    /// See [`ExportRefused`].
    pub fn open(self, to: &PublicKey, now: UnixSeconds) -> Result<BanExport, ExportRefused> {
        let Self { export, signature } = self;
        if export.to != *to {
            return Err(ExportRefused::ForAnother(export.to));
        }
        if now.since(export.at) > MAX_EXPORT_AGE || export.at.since(now) > MAX_EXPORT_AGE {
            return Err(ExportRefused::Old(export.by));
        }
        let verified = export.by.verify(Tag::BanExport, &encode(&export), &signature);
        verified.map_err(|_| ExportRefused::Signature(export.by))?;
        Ok(export)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::order::tests::{NOW, identities};

    #[test]
    fn an_export_is_taken_by_the_party_that_it_is_for_and_for_a_day() {
        let keys = identities(3);
        let public: Vec<PublicKey> = keys.iter().map(SecretKey::public).collect();
        let export = BanExport { by: public[0], to: public[1], at: NOW, bans: vec![] };
        let day = Duration::from_secs(86_400);
        assert_eq!(export.clone().sign(&keys[0]).open(&public[1], NOW + day), Ok(export.clone()));
        for (key, to, at, refused) in [
            (0, 2, NOW, ExportRefused::ForAnother(public[1])),
            (0, 1, NOW + day + Duration::from_secs(1), ExportRefused::Old(public[0])),
            (0, 1, UnixSeconds(NOW.0 - 86_401), ExportRefused::Old(public[0])),
            (2, 1, NOW, ExportRefused::Signature(public[0])),
        ] {
            assert_eq!(export.clone().sign(&keys[key]).open(&public[to], at), Err(refused));
        }
    }
}
