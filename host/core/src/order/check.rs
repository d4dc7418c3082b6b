//! Whether an order makes sense by itself.

use super::operation::Operation;
use super::sign_items::ItemObjection;
use super::{ORDER_VERSION, Order, OrderRefused};

impl Order {
    pub(super) fn check(&self) -> Result<(), OrderRefused> {
        if self.version != ORDER_VERSION {
            return Err(OrderRefused::Malformed);
        }
        if let Some(contradiction) = self.contradiction() {
            return Err(OrderRefused::Inconsistent(contradiction));
        }
        self.not_implemented().map_or(Ok(()), |what| Err(OrderRefused::NotImplemented(what)))
    }

    fn contradiction(&self) -> Option<&'static str> {
        let parties = self.spec.threshold.parties();
        if self.spec.parties.len() != usize::from(parties) {
            return Some("it does not name n parties");
        }
        let mut sorted = self.spec.parties.clone();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Some("a party has two indices");
        }
        let ascending = self.spec.mandatory.is_sorted_by(|a, b| a < b);
        let inside = self.spec.mandatory.iter().all(|p| p.number() <= parties);
        if !ascending || !inside || self.spec.mandatory.len() > usize::from(self.spec.threshold.required()) {
            return Some("its mandatory parties are not at most t of the parties, ascending");
        }
        let has_key = self.epoch != 0 && !self.public_key.0.is_empty() && self.share_set.is_some();
        let has_none = self.epoch == 0 && self.public_key.0.is_empty() && self.share_set.is_none();
        if !(if self.operation == Operation::Keygen { has_none } else { has_key }) {
            return Some("epoch, share set and public key belong to every order but a keygen");
        }
        if let Some(contradiction) = self.user_share_contradiction() {
            return Some(contradiction);
        }
        match &self.operation {
            Operation::Sign(items) => items
                .all()
                .iter()
                .find_map(|item| item.objection(&self.spec.scheme))
                .map(ItemObjection::reason),
            Operation::Presign { at_most: 0 }
            | Operation::Auxiliary { at_most: 0 }
            | Operation::Prepare { at_most: 0 } => Some("it asks for nothing"),
            Operation::Repair(repair) => repair.contradiction(self),
            _ => None,
        }
    }

    fn user_share_contradiction(&self) -> Option<&'static str> {
        if !self.operation.makes_shares() && (self.recipient.is_some() || self.claim_hash.is_some()) {
            return Some("only new shares have a recipient or a claim");
        }
        if self.recipient.is_some() && self.claim_hash.is_none() {
            return Some("nobody has a claim to the user's new share");
        }
        let brings_share = self.operation.is_signing() || self.operation.is_complete_refresh();
        (self.sealing_key.is_some() && !brings_share)
            .then_some("a user brings a share to sign, to refresh or to repair only")
    }

    /// The part of the order that this version has room for and does not carry out. An order with it is refused: a part
    /// that ignored it would do something else than was asked for.
    fn not_implemented(&self) -> Option<&'static str> {
        match &self.operation {
            Operation::Auxiliary { .. } => return Some("auxiliary information"),
            Operation::Prepare { .. } => return Some("prepared material"),
            Operation::Keygen
            | Operation::Refresh
            | Operation::Repair(_)
            | Operation::Sign(_)
            | Operation::Presign { .. } => {}
        }
        let fields = [
            (self.authorisations.is_some(), "authorisations of callers"),
            (self.policy.is_some(), "a policy"),
        ];
        fields.into_iter().find(|(filled, _)| *filled).map(|(_, what)| what)
    }
}
