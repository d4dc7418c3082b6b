//! Presignatures that parties hold ready, as far as this coordinator has had them made. What others had made, or this process before it
//! started anew, is used by nobody: the parties drop the oldest.
//!
//! Nothing here keeps a presignature from being used twice. The parties do (rule 6).

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use quorate_core::presignatures::{MAX_PRESIGNATURES, MadePresignatures};
use quorate_core::{AccountId, PartyIndex, PlanHash, PoolId, PreparedId};

/// Presignatures of all accounts. Beyond, those of the account that has used its own longest ago are given up.
const MAX_HELD: usize = 65_536;

/// The presignatures of all accounts.
#[derive(Default)]
pub(super) struct Presignatures(Mutex<Held>);

#[derive(Default)]
struct Held {
    accounts: HashMap<AccountId, OfAccount>,
    count: usize,
    /// Counts up: says which account was used last.
    uses: u64,
}

struct OfAccount {
    share_set: PlanHash,
    stocks: Vec<Stock>,
    last_use: u64,
}

/// Presignatures of the same signers, in the same pools.
struct Stock {
    signers: Vec<PartyIndex>,
    pools: Vec<PoolId>,
    ids: VecDeque<PreparedId>,
}

/// What a plan says of the presignatures that it uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlannedPresignatures {
    /// The pool of each signer.
    pub(super) pools: Vec<PoolId>,
    /// One for each item.
    pub(super) ids: Vec<PreparedId>,
}

impl Presignatures {
    /// Keeps what the signers have made with a share set of their account.
    pub(super) fn add(
        &self,
        account: AccountId,
        share_set: PlanHash,
        signers: &[PartyIndex],
        made: &MadePresignatures,
    ) {
        let held = &mut *self.0.lock();
        held.uses += 1;
        let of_account = held.accounts.entry(account).or_insert_with(|| OfAccount::new(share_set));
        held.count -= of_account.drop_other_share_sets(share_set);
        of_account.last_use = held.uses;
        let same = |stock: &&mut Stock| stock.signers == signers && stock.pools == made.pools;
        let stock = match of_account.stocks.iter_mut().find(same) {
            Some(stock) => stock,
            None => {
                // Those that are in other pools are lost: a party started anew.
                held.count -= of_account.forget(signers);
                of_account.stocks.push_mut(Stock {
                    signers: signers.to_vec(),
                    pools: made.pools.clone(),
                    ids: VecDeque::new(),
                })
            }
        };
        let before = stock.ids.len();
        stock.ids.extend(made.ids());
        let excess = stock.ids.len().saturating_sub(MAX_PRESIGNATURES.into());
        stock.ids.drain(..excess);
        held.count = held.count + stock.ids.len() - before;
        held.give_up_excess();
    }

    /// The signers who have presignatures for so many items of an account.
    pub(super) fn signers_with(
        &self,
        account: AccountId,
        share_set: PlanHash,
        items: usize,
    ) -> Vec<Vec<PartyIndex>> {
        let held = self.0.lock();
        let of_account = held.accounts.get(&account).filter(|all| all.share_set == share_set);
        let stocks = of_account.into_iter().flat_map(|all| &all.stocks);
        stocks.filter(|stock| stock.ids.len() >= items).map(|stock| stock.signers.clone()).collect()
    }

    /// Takes presignatures of these signers for a plan, for all items or none. `is_there` says whether the process of a signer to which
    /// the plan will come has this pool.
    pub(super) fn take(
        &self,
        account: AccountId,
        share_set: PlanHash,
        signers: &[PartyIndex],
        items: usize,
        is_there: impl Fn(PartyIndex, PoolId) -> bool,
    ) -> Option<PlannedPresignatures> {
        let held = &mut *self.0.lock();
        held.uses += 1;
        let of_account = held.accounts.get_mut(&account)?;
        of_account.last_use = held.uses;
        held.count -= of_account.drop_other_share_sets(share_set);
        let stock = of_account.stocks.iter_mut().find(|stock| stock.signers == signers)?;
        if !signers.iter().zip(&stock.pools).all(|(signer, pool)| is_there(*signer, *pool)) {
            held.count -= of_account.forget(signers);
            held.drop_empty(account);
            return None;
        }
        if stock.ids.len() < items {
            return None;
        }
        let planned =
            PlannedPresignatures { pools: stock.pools.clone(), ids: stock.ids.drain(..items).collect() };
        held.count -= items;
        held.drop_empty(account);
        Some(planned)
    }

    /// How many presignatures these signers have.
    pub(super) fn left(&self, account: AccountId, share_set: PlanHash, signers: &[PartyIndex]) -> usize {
        let held = self.0.lock();
        let of_account = held.accounts.get(&account).filter(|all| all.share_set == share_set);
        let stock = of_account.and_then(|all| all.stocks.iter().find(|stock| stock.signers == signers));
        stock.map_or(0, |stock| stock.ids.len())
    }

    /// Gives up all presignatures of these signers: a session that was to use some has failed.
    pub(super) fn forget(&self, account: AccountId, signers: &[PartyIndex]) {
        let held = &mut *self.0.lock();
        if let Some(of_account) = held.accounts.get_mut(&account) {
            held.count -= of_account.forget(signers);
            held.drop_empty(account);
        }
    }
}

impl Held {
    /// Nothing stays of an account that has none left.
    fn drop_empty(&mut self, account: AccountId) {
        let Some(of_account) = self.accounts.get_mut(&account) else { return };
        of_account.stocks.retain(|stock| !stock.ids.is_empty());
        if of_account.stocks.is_empty() {
            self.accounts.remove(&account);
        }
    }

    fn give_up_excess(&mut self) {
        while self.count > MAX_HELD {
            let oldest = self.accounts.iter().min_by_key(|(_, all)| all.last_use).map(|(id, _)| *id);
            let Some(of_account) = oldest.and_then(|oldest| self.accounts.remove(&oldest)) else { return };
            self.count -= of_account.stocks.iter().map(|stock| stock.ids.len()).sum::<usize>();
        }
    }
}

impl OfAccount {
    fn new(share_set: PlanHash) -> Self {
        Self { share_set, stocks: vec![], last_use: 0 }
    }

    /// Drops what was made with other share sets, and says how much that was.
    fn drop_other_share_sets(&mut self, share_set: PlanHash) -> usize {
        if self.share_set == share_set {
            return 0;
        }
        self.share_set = share_set;
        std::mem::take(&mut self.stocks).iter().map(|stock| stock.ids.len()).sum()
    }

    /// Drops what these signers have made, and says how much that was.
    fn forget(&mut self, signers: &[PartyIndex]) -> usize {
        let dropped = self.stocks.extract_if(.., |stock| stock.signers == signers);
        dropped.map(|stock| stock.ids.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::codec::Bytes;
    use quorate_core::identity::PublicKey;
    use quorate_core::order::{MAX_ORDER_LIFETIME, Operation, Order, OrderTerms, Version};
    use quorate_core::report::Outcome;
    use quorate_core::{ExecutionId, KeySpec, OrderId, Threshold, UnixSeconds};

    use super::*;

    const SHARES: PlanHash = PlanHash([1; 32]);

    fn signers(numbers: [u16; 2]) -> Vec<PartyIndex> {
        numbers.iter().map(|&number| PartyIndex::try_from(number).unwrap()).collect()
    }

    fn account(number: u8) -> AccountId {
        AccountId([number; 16])
    }

    /// What these signers have made, in pools with the numbers of this process and the next.
    fn made(signers: &[PartyIndex], execution: u8, pool: u8, count: u16) -> MadePresignatures {
        let terms = OrderTerms {
            operation: Operation::Presign { at_most: count },
            spec: KeySpec {
                account: account(1),
                scheme: "ed25519".into(),
                protocol: "frost-ed25519".into(),
                threshold: Threshold::new(2, 3).unwrap(),
                parties: (1..=3).map(|party| PublicKey([party; 32])).collect(),
                mandatory: vec![],
            },
            minimum_plugin: Version::default(),
            epoch: 1,
            share_set: Some(SHARES),
            public_key: Bytes(vec![2; 32]).0,
            recipient: None,
        };
        let order = Order::new(OrderId([0; 32]), terms, UnixSeconds(0), MAX_ORDER_LIFETIME);
        let outcome = |pool| Outcome::Prepared {
            execution: ExecutionId([execution; 32]),
            pool: PoolId([pool; 16]),
            count,
        };
        let outcomes = signers.iter().zip(pool..).map(|(signer, pool)| (*signer, outcome(pool))).collect();
        MadePresignatures::of(&order, signers, &outcomes).unwrap()
    }

    fn everywhere(_: PartyIndex, _: PoolId) -> bool {
        true
    }

    #[test]
    fn each_is_taken_once_for_its_signers_and_share_set() {
        let all = Presignatures::default();
        let (these, others) = (signers([1, 2]), signers([1, 3]));
        all.add(account(1), SHARES, &these, &made(&these, 1, 1, 4));
        assert_eq!(all.left(account(1), SHARES, &these), 4);
        assert_eq!(all.signers_with(account(1), SHARES, 4), std::slice::from_ref(&these));
        assert!(all.signers_with(account(1), SHARES, 5).is_empty());
        assert_eq!(all.take(account(1), SHARES, &others, 1, everywhere), None);
        assert_eq!(all.take(account(2), SHARES, &these, 1, everywhere), None);
        assert_eq!(all.take(account(1), SHARES, &these, 5, everywhere), None, "for all items or none");
        let mut taken = Vec::new();
        for items in [1, 3] {
            let planned = all.take(account(1), SHARES, &these, items, everywhere).unwrap();
            assert_eq!(planned.pools, [PoolId([1; 16]), PoolId([2; 16])]);
            assert_eq!(planned.ids.len(), items);
            taken.extend(planned.ids);
        }
        assert_eq!(all.take(account(1), SHARES, &these, 1, everywhere), None);
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), 4);
        assert!(all.0.lock().accounts.is_empty(), "something stays of an account that has none left");

        all.add(account(1), SHARES, &these, &made(&these, 2, 1, 4));
        assert_eq!(all.take(account(1), PlanHash([2; 32]), &these, 1, everywhere), None, "other shares");
        assert_eq!((all.left(account(1), SHARES, &these), all.0.lock().count), (0, 0));
    }

    #[test]
    fn those_of_a_process_that_is_gone_are_given_up() {
        let all = Presignatures::default();
        let these = signers([1, 2]);
        all.add(account(1), SHARES, &these, &made(&these, 1, 1, 4));
        let other_process = |_, pool| pool == PoolId([1; 16]);
        assert_eq!(all.take(account(1), SHARES, &these, 1, other_process), None);
        assert_eq!(all.left(account(1), SHARES, &these), 0);
        // And those that a new process has made take the place of the old ones.
        all.add(account(1), SHARES, &these, &made(&these, 2, 1, 4));
        all.add(account(1), SHARES, &these, &made(&these, 3, 8, 3));
        assert_eq!(all.left(account(1), SHARES, &these), 3);
        all.forget(account(1), &these);
        assert_eq!((all.left(account(1), SHARES, &these), all.0.lock().count), (0, 0));
        assert!(all.0.lock().accounts.is_empty(), "something stays of an account that has none left");
    }

    #[test]
    fn there_are_bounds_and_the_oldest_go_first() {
        let all = Presignatures::default();
        let these = signers([1, 2]);
        all.add(account(1), SHARES, &these, &made(&these, 1, 1, 200));
        all.add(account(1), SHARES, &these, &made(&these, 2, 1, 100));
        assert_eq!(all.left(account(1), SHARES, &these), usize::from(MAX_PRESIGNATURES));
        let first = all.take(account(1), SHARES, &these, 1, everywhere).unwrap();
        assert_eq!(first.ids, [PreparedId::of(&ExecutionId([1; 32]), 44)]);
        let accounts = u8::try_from(MAX_HELD / 256).unwrap_or(u8::MAX);
        for number in 1..=accounts {
            let numbers = signers([2, 3]);
            all.add(account(number), SHARES, &numbers, &made(&numbers, 3, 1, 256));
        }
        // The account that has used its own longest ago is the first.
        all.take(account(1), SHARES, &these, 1, everywhere).unwrap();
        let numbers = signers([1, 3]);
        all.add(account(3), SHARES, &numbers, &made(&numbers, 4, 1, 256));
        assert!(all.left(account(1), SHARES, &these) > 0);
        assert_eq!(all.left(account(2), SHARES, &signers([2, 3])), 0);
        assert!(all.0.lock().count <= MAX_HELD);
    }
}
