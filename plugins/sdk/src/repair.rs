//! The task of a repair.

use crate::{Failure, PartyIndex, PublicKeyInfo, Roster};

/// Whose shares are to be repaired, and by whom. All n parties take part, because a complete refresh follows in the same session.
#[derive(Clone, Debug)]
pub struct RepairTask {
    /// The parties whose shares are lost, ascending.
    pub targets: Vec<PartyIndex>,
    /// The t parties that help, ascending, no target among them.
    pub helpers: Vec<PartyIndex>,
    /// The public outputs of the share set that is repaired. The host has checked that all n parties have promised them.
    pub outputs: KeyOutputs,
}

impl RepairTask {
    /// Checks that the task fits the roster: all n parties take part, and exactly t of them help some of the others.
    ///
    /// # Errors
    /// [`Failure::InvalidTask`].
    pub fn check(&self, roster: &Roster) -> Result<(), Failure> {
        roster.require_all()?;
        let take_part = |parties: &[PartyIndex]| {
            parties.is_sorted_by(|a, b| a < b) && parties.iter().all(|party| roster.signers().contains(party))
        };
        let fits = self.helpers.len() == usize::from(roster.threshold())
            && !self.targets.is_empty()
            && take_part(&self.helpers)
            && take_part(&self.targets)
            && !self.targets.iter().any(|target| self.is_helper(*target))
            && self.outputs.verifying_shares.len() == usize::from(roster.parties());
        if fits { Ok(()) } else { Err(Failure::InvalidTask("a repair that does not fit the key".into())) }
    }

    /// Whether this party helps.
    #[must_use]
    pub fn is_helper(&self, party: PartyIndex) -> bool {
        self.helpers.contains(&party)
    }

    /// Whether this party has lost its share.
    #[must_use]
    pub fn is_target(&self, party: PartyIndex) -> bool {
        self.targets.contains(&party)
    }
}

/// The public outputs of a share set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOutputs {
    /// Name of the signature scheme.
    pub scheme: String,
    /// Encoded as the contract says for the scheme.
    pub public_key: Vec<u8>,
    /// Where the protocol derives child keys.
    pub chain_code: Option<[u8; 32]>,
    /// One public point per party, in index order.
    pub verifying_shares: Vec<Vec<u8>>,
}

impl PublicKeyInfo {
    /// The same without the format of this party's share.
    #[must_use]
    pub fn outputs(&self) -> KeyOutputs {
        KeyOutputs {
            scheme: self.scheme.clone(),
            public_key: self.public_key.clone(),
            chain_code: self.chain_code,
            verifying_shares: self.verifying_shares.clone(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn task(targets: &[u16], helpers: &[u16], shares: usize) -> RepairTask {
        let outputs = KeyOutputs {
            scheme: "ed25519".into(),
            public_key: vec![1; 32],
            chain_code: None,
            verifying_shares: vec![vec![2; 32]; shares],
        };
        let parties =
            |parties: &[u16]| parties.iter().map(|party| PartyIndex::new(*party).unwrap()).collect();
        RepairTask { targets: parties(targets), helpers: parties(helpers), outputs }
    }

    #[test]
    fn exactly_t_others_help_in_a_session_of_all() {
        let roster = |signers: &[u16]| Roster::new(1, signers, 4, 2, &[0; 32], &[0; 32]).unwrap();
        let all = roster(&[1, 2, 3, 4]);
        task(&[2], &[1, 4], 4).check(&all).unwrap();
        task(&[2, 3], &[1, 4], 4).check(&all).unwrap();
        for (what, bad) in [
            ("nobody is helped", task(&[], &[1, 2], 4)),
            ("a target helps", task(&[2, 3], &[1, 2], 4)),
            ("a target is named twice", task(&[2, 2], &[1, 4], 4)),
            ("the targets are not ascending", task(&[3, 2], &[1, 4], 4)),
            ("too few help", task(&[2], &[1], 4)),
            ("too many help", task(&[2], &[1, 3, 4], 4)),
            ("one helps twice", task(&[2], &[1, 1], 4)),
            ("the helpers are not ascending", task(&[2], &[4, 1], 4)),
            ("a helper is no party", task(&[2], &[1, 5], 4)),
            ("a target is no party", task(&[5], &[1, 2], 4)),
            ("a public share is missing", task(&[2], &[1, 4], 3)),
        ] {
            assert!(bad.check(&all).is_err(), "{what}");
        }
        assert!(task(&[2], &[1, 4], 4).check(&roster(&[1, 2, 4])).is_err(), "a party takes no part");
    }
}
