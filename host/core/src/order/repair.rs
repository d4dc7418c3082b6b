//! The repair of lost shares.

use std::borrow::Cow;

use super::Order;
use crate::PartyIndex;
use crate::certificate::{Certificate, KeyOutputs};
use crate::codec::wire_struct;
use crate::identity::PublicKey;
use crate::key_spec::KeySpec;

/// The repair of lost shares. A party that has lost its share has nothing left: all that it must know about the key is here, and every
/// party verifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The parties whose shares are lost, ascending: at most n − t.
    pub targets: Vec<RepairTarget>,
    /// The promises of the share set that is repaired.
    pub certificate: Certificate,
    /// The key that they promised.
    pub outputs: KeyOutputs,
}

wire_struct!(Repair { targets, certificate, outputs });

/// A party whose share is lost. The order's own list of parties has the identity that it has now, which may be the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairTarget {
    /// Its index.
    pub party: PartyIndex,
    /// The identity with which it promised the share.
    pub former_identity: PublicKey,
}

wire_struct!(RepairTarget { party, former_identity });

/// A party whose lost shares may be repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairedParty {
    /// The identity with which it promised them.
    pub former: PublicKey,
    /// The identity that it has now; it may be the same.
    pub identity: PublicKey,
}

wire_struct!(RepairedParty { former, identity });

impl Order {
    /// The key's properties as they are sealed with the share set that the order names: a repair may replace identities, and this is
    /// the key with the former ones.
    #[must_use]
    pub fn former_spec(&self) -> Cow<'_, KeySpec> {
        match self.operation.repair() {
            Some(repair) => Cow::Owned(repair.former_spec(&self.spec)),
            None => Cow::Borrowed(&self.spec),
        }
    }
}

impl Repair {
    /// Whether this party's share is lost.
    #[must_use]
    pub fn is_target(&self, party: PartyIndex) -> bool {
        self.targets.iter().any(|target| target.party == party)
    }

    /// The parties whose shares are lost, ascending.
    #[must_use]
    pub fn target_parties(&self) -> Vec<PartyIndex> {
        self.targets.iter().map(|target| target.party).collect()
    }

    /// What the operator of this party must have permitted: the repair of each other party whose share is lost.
    #[must_use]
    pub fn others(&self, spec: &KeySpec, me: PartyIndex) -> Vec<(PartyIndex, RepairedParty)> {
        let others = self.targets.iter().filter(|target| target.party != me);
        let repaired = |target: &RepairTarget| {
            let identity = *spec.party(target.party)?;
            Some((target.party, RepairedParty { former: target.former_identity, identity }))
        };
        others.filter_map(repaired).collect()
    }

    /// See [`Order::former_spec`].
    fn former_spec(&self, spec: &KeySpec) -> KeySpec {
        let mut former = spec.clone();
        for target in &self.targets {
            if let Some(key) = former.parties.get_mut(usize::from(target.party.number()) - 1) {
                *key = target.former_identity;
            }
        }
        former
    }

    /// Why it contradicts the order that asks for it. All n parties must have promised the share set that the order names, by the
    /// identities that they had.
    pub(super) fn contradiction(&self, order: &Order) -> Option<&'static str> {
        let threshold = order.spec.threshold;
        let most = usize::from(threshold.parties() - threshold.required());
        let ascending = self.targets.is_sorted_by(|a, b| a.party < b.party);
        let inside = self.targets.iter().all(|target| target.party.number() <= threshold.parties());
        if !(1..=most).contains(&self.targets.len()) || !ascending || !inside {
            return Some("it does not name 1 to n − t parties whose shares are lost, ascending");
        }
        let former = self.former_spec(&order.spec).parties;
        let mut sorted = former.clone();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Some("two parties had one identity");
        }
        // A party that has a share of this key gets no second one at another index.
        let moves = |target: &RepairTarget| {
            let at = usize::from(target.party.number()) - 1;
            let now = order.spec.parties.get(at);
            former.iter().enumerate().any(|(index, key)| index != at && Some(key) == now)
        };
        if self.targets.iter().any(moves) {
            return Some("a party of the key would have another index");
        }
        let activation = &self.certificate.activation;
        let is_of_order = Some(activation.plan) == order.share_set
            && activation.epoch == order.epoch
            && activation.account == order.spec.account
            && activation.threshold == threshold;
        if !is_of_order || self.certificate.verify(&former).is_err() {
            return Some("the share set to repair was not promised by all its parties");
        }
        let outputs = &self.outputs;
        let are_promised = activation.outputs == outputs.hash()
            && outputs.public_key == order.public_key
            && outputs.scheme == order.spec.scheme
            && outputs.verifying_shares.len() == usize::from(threshold.parties());
        (!are_promised).then_some("the public outputs are not those that were promised")
    }
}
