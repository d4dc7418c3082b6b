//! Acknowledgements: when all n parties have said that a share set is active, the others may be erased (rule 9).

use std::collections::BTreeMap;

use crate::PartyIndex;
use crate::codec::{encode, wire_struct};
use crate::identity::{BadSignature, PublicKey, SecretKey, Signature, Tag, key_of};
use crate::ids::PlanHash;

/// A party's word that it has activated a share set: when all n have said so, the one before is erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The plan of the session that made the share set.
    pub plan: PlanHash,
    /// The party that acknowledges.
    pub by: PartyIndex,
    signature: Signature,
}

wire_struct!(Acknowledgement { plan, by, signature });

impl Acknowledgement {
    /// Signs it. The activation is durable by now.
    #[must_use]
    pub fn sign(plan: PlanHash, by: PartyIndex, key: &SecretKey) -> Self {
        let signature = key.sign(Tag::Acknowledgement, &encode(&(plan, by)));
        Self { plan, by, signature }
    }

    /// Verifies that `key` said it.
    ///
    /// # Errors
    /// When it did not.
    pub fn verify(&self, key: &PublicKey) -> Result<(), BadSignature> {
        key.verify(Tag::Acknowledgement, &encode(&(self.plan, self.by)), &self.signature)
    }
}

/// The acknowledgements of one share set by all n parties: with it, every other set of the account may be erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasureCertificate {
    /// The plan of the session that made the share set.
    pub plan: PlanHash,
    /// The signatures, in index order.
    signatures: Vec<Signature>,
}

wire_struct!(ErasureCertificate { plan, signatures });

impl ErasureCertificate {
    /// Verifies that all these parties, by their identity keys in index order, have acknowledged the share set.
    ///
    /// # Errors
    /// When one has not.
    pub fn verify(&self, parties: &[PublicKey]) -> Result<(), BadSignature> {
        let n = u16::try_from(parties.len()).map_err(|_| BadSignature)?;
        if self.signatures.len() != parties.len() {
            return Err(BadSignature);
        }
        PartyIndex::all(n).zip(parties.iter().zip(&self.signatures)).try_for_each(|(by, (key, signature))| {
            key.verify(Tag::Acknowledgement, &encode(&(self.plan, by)), signature)
        })
    }
}

/// The acknowledgements of one share set so far.
#[derive(Clone, Debug)]
pub struct Acknowledgements {
    plan: PlanHash,
    parties: Vec<PublicKey>,
    by: BTreeMap<PartyIndex, Signature>,
}

impl Acknowledgements {
    /// None yet, of a share set of these parties.
    #[must_use]
    pub fn new(plan: PlanHash, parties: Vec<PublicKey>) -> Self {
        Self { plan, parties, by: BTreeMap::new() }
    }

    /// Takes one in; true when all parties have acknowledged. One that does not verify is ignored.
    pub fn take(&mut self, acknowledgement: &Acknowledgement) -> bool {
        let key = key_of(&self.parties, acknowledgement.by);
        if acknowledgement.plan == self.plan && key.is_some_and(|key| acknowledgement.verify(key).is_ok()) {
            self.by.insert(acknowledgement.by, acknowledgement.signature);
        }
        self.by.len() == self.parties.len()
    }

    /// The certificate; `None` while an acknowledgement is missing.
    #[must_use]
    pub fn certificate(&self) -> Option<ErasureCertificate> {
        let signatures = self.by.values().copied().collect();
        (self.by.len() == self.parties.len()).then_some(ErasureCertificate { plan: self.plan, signatures })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::order::tests::identities;

    #[test]
    fn the_share_set_before_goes_only_when_all_parties_have_acknowledged_this_one() {
        let keys = identities(3);
        let plan = PlanHash([1; 32]);
        let mut all = Acknowledgements::new(plan, keys.iter().map(SecretKey::public).collect());
        let parties: Vec<PartyIndex> = PartyIndex::all(4).collect();
        for (plan, by, key) in [
            (plan, parties[0], &keys[0]),
            (plan, parties[0], &keys[0]),
            (plan, parties[1], &keys[0]),
            (plan, parties[3], &keys[0]),
            (PlanHash([2; 32]), parties[1], &keys[1]),
            (plan, parties[2], &keys[2]),
        ] {
            assert!(!all.take(&Acknowledgement::sign(plan, by, key)));
            assert_eq!(all.certificate(), None);
        }
        assert!(all.take(&Acknowledgement::sign(plan, parties[1], &keys[1])));
        let certificate = all.certificate().unwrap();
        let mut public: Vec<PublicKey> = keys.iter().map(SecretKey::public).collect();
        assert_eq!(certificate.verify(&public), Ok(()));
        let other = ErasureCertificate { plan: PlanHash([2; 32]), ..certificate.clone() };
        assert_eq!(other.verify(&public), Err(BadSignature));
        assert_eq!(certificate.verify(&public[..2]), Err(BadSignature));
        public.swap(0, 1);
        assert_eq!(certificate.verify(&public), Err(BadSignature));
    }
}
