//! Acknowledgements: when all n parties have said that a share set is active, the others may be erased (rule 9).

use crate::PartyIndex;
use crate::codec::{encode, wire_struct};
use crate::identity::{BadSignature, PublicKey, SecretKey, Signature, Tag};
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
    /// The certificate of these acknowledgements; `None` unless all of these parties, by their identity keys in index order,
    /// have acknowledged the share set.
    #[must_use]
    pub fn of(plan: PlanHash, acknowledgements: &[Acknowledgement], parties: &[PublicKey]) -> Option<Self> {
        let n = u16::try_from(parties.len()).ok()?;
        let of = |by| acknowledgements.iter().find(|acknowledgement| acknowledgement.by == by);
        let signatures = PartyIndex::all(n).map(|by| of(by).map(|a| a.signature)).collect::<Option<_>>()?;
        let certificate = Self { plan, signatures };
        certificate.verify(parties).is_ok().then_some(certificate)
    }

    /// The acknowledgements of all parties, in index order.
    #[must_use]
    pub fn acknowledgements(&self) -> Vec<Acknowledgement> {
        let n = u16::try_from(self.signatures.len()).unwrap_or(u16::MAX);
        let with_index = PartyIndex::all(n).zip(&self.signatures);
        with_index.map(|(by, &signature)| Acknowledgement { plan: self.plan, by, signature }).collect()
    }

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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::order::tests::identities;

    #[test]
    fn the_others_are_erased_only_with_the_word_of_all_parties() {
        let keys = identities(3);
        let mut public: Vec<PublicKey> = keys.iter().map(SecretKey::public).collect();
        let plan = PlanHash([1; 32]);
        let parties: Vec<PartyIndex> = PartyIndex::all(3).collect();
        let word = |party: usize, key: usize, plan| Acknowledgement::sign(plan, parties[party], &keys[key]);
        let good = [word(0, 0, plan), word(1, 1, plan), word(2, 2, plan)];
        let other = PlanHash([2; 32]);
        for wrong in [word(1, 0, plan), word(1, 1, other), word(0, 0, plan)] {
            let all = [good[0].clone(), wrong, good[2].clone()];
            assert_eq!(ErasureCertificate::of(plan, &all, &public), None);
        }
        let certificate = ErasureCertificate::of(plan, &good, &public).unwrap();
        assert_eq!(certificate.acknowledgements(), good);
        assert_eq!(certificate.verify(&public), Ok(()));
        assert_eq!(
            ErasureCertificate { plan: other, ..certificate.clone() }.verify(&public),
            Err(BadSignature)
        );
        assert_eq!(certificate.verify(&public[..2]), Err(BadSignature));
        public.swap(0, 1);
        assert_eq!(certificate.verify(&public), Err(BadSignature));
    }
}
