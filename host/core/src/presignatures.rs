//! Presignatures that the signers of a session have made together.

use std::collections::BTreeMap;

use crate::PartyIndex;
use crate::ids::{ExecutionId, PoolId, PreparedId};
use crate::order::{Operation, Order};
use crate::report::Outcome;

/// The most presignatures that a party keeps for one account and quorum. When more are made, the oldest go.
pub const MAX_PRESIGNATURES: u16 = 256;

/// Presignatures that a session has made, by the word of all its signers. Nothing proves that they are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadePresignatures {
    execution: ExecutionId,
    count: u16,
    /// The pool of each signer, in the order of the signers.
    pub pools: Vec<PoolId>,
}

impl MadePresignatures {
    /// What these outcomes say together; `None` unless each of these signers says that the same execution has made some.
    #[must_use]
    pub fn of(
        order: &Order,
        signers: &[PartyIndex],
        outcomes: &BTreeMap<PartyIndex, Outcome>,
    ) -> Option<Self> {
        let Operation::Presign { at_most } = order.operation else { return None };
        let mut all: Option<Self> = None;
        for signer in signers {
            let Some(&Outcome::Prepared { execution, pool, count }) = outcomes.get(signer) else {
                return None;
            };
            let together = all.get_or_insert(Self { execution, count: at_most, pools: vec![] });
            if together.execution != execution {
                return None;
            }
            together.count = together.count.min(count);
            together.pools.push(pool);
        }
        all.filter(|together| together.count > 0)
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Their ids.
    pub fn ids(&self) -> impl Iterator<Item = PreparedId> {
        (0..self.count).map(|index| PreparedId::of(&self.execution, index))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::abort::AbortCode;
    use crate::order::MAX_ORDER_LIFETIME;
    use crate::order::tests::{NOW, signing, terms};
    use crate::{OrderId, PartyIndex};

    fn order(operation: Operation) -> Order {
        Order::new(OrderId([3; 32]), terms(operation), NOW, MAX_ORDER_LIFETIME)
    }

    fn prepared(execution: u8, pool: u8, count: u16) -> Outcome {
        Outcome::Prepared { execution: ExecutionId([execution; 32]), pool: PoolId([pool; 16]), count }
    }

    #[test]
    fn presignatures_are_there_when_all_signers_say_so_of_one_execution() {
        let signers: Vec<PartyIndex> = PartyIndex::all(2).collect();
        let presign = order(Operation::Presign { at_most: 8 });
        let made = |order: &Order, outcomes: &[Outcome]| {
            let outcomes = signers.iter().copied().zip(outcomes.iter().cloned()).collect();
            MadePresignatures::of(order, &signers, &outcomes)
        };
        let all = made(&presign, &[prepared(1, 1, 8), prepared(1, 2, 7)]).unwrap();
        assert_eq!(all.pools, [PoolId([1; 16]), PoolId([2; 16])]);
        let ids: Vec<PreparedId> = (0..7).map(|index| PreparedId::of(&ExecutionId([1; 32]), index)).collect();
        assert_eq!(all.ids().collect::<Vec<_>>(), ids, "as many as each of them has");
        let more = made(&presign, &[prepared(1, 1, 900), prepared(1, 2, 900)]).unwrap();
        assert_eq!(more.ids().count(), 8, "no more than were ordered");

        assert_eq!(made(&presign, &[prepared(1, 1, 8)]), None, "one says nothing");
        assert_eq!(made(&presign, &[prepared(1, 1, 8), prepared(2, 2, 8)]), None, "two executions");
        assert_eq!(made(&presign, &[prepared(1, 1, 8), prepared(1, 2, 0)]), None, "one has none");
        let aborted = Outcome::Aborted {
            code: AbortCode::Timeout,
            plugin_code: None,
            culprits: vec![],
            reason: String::new(),
            notice: None,
        };
        assert_eq!(made(&presign, &[prepared(1, 1, 8), aborted]), None);
        assert_eq!(made(&order(signing()), &[prepared(1, 1, 8), prepared(1, 2, 8)]), None);
    }
}
