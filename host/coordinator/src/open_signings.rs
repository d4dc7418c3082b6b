//! The signing sessions that are open here, by account: parties bound how many are open with one counterparty at a time
//! (rule 8). A hint that saves sessions: each party counts for itself, over all its replicas.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use quorate_core::{AccountId, PartyIndex};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::bans::Ban;

/// How long a pair is avoided after a party has said that no more signings may be open with the other.
const FULL_DURATION: Duration = Duration::from_millis(200);

/// Accounts from which on those that have no session any more are forgotten.
const MAX_ACCOUNTS: usize = 1_024;

/// The longest that a call waits for a place before it looks again.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(100);

/// All open signing sessions. Clones share them.
#[derive(Clone, Default)]
pub(super) struct OpenSignings(Arc<Mutex<HashMap<AccountId, AccountSignings>>>);

#[derive(Default)]
struct AccountSignings {
    /// How many sessions are open with each pair of parties.
    open: BTreeMap<Ban, u32>,
    /// Pairs of which a party says that they are full, until then.
    full: BTreeMap<Ban, Instant>,
    /// Told when a session has ended.
    released: Arc<Notify>,
}

impl AccountSignings {
    /// Whether there is nothing to remember.
    fn is_over(&self, now: Instant) -> bool {
        self.open.is_empty() && self.full.values().all(|until| *until <= now)
    }
}

/// A signing session, for as long as it is open.
pub(super) struct OpenSigning {
    signings: OpenSignings,
    account: AccountId,
    pairs: Vec<Ban>,
}

impl OpenSignings {
    fn lock(&self) -> MutexGuard<'_, HashMap<AccountId, AccountSignings>> {
        self.0.lock()
    }

    /// Counts a session.
    pub(super) fn begin(&self, account: AccountId, signers: &[PartyIndex]) -> OpenSigning {
        let with = |&a: &PartyIndex| signers.iter().filter(move |&&b| a < b).map(move |&b| (a, b));
        let pairs: Vec<Ban> = signers.iter().flat_map(with).collect();
        let (mut accounts, now) = (self.lock(), Instant::now());
        if accounts.len() >= MAX_ACCOUNTS {
            accounts.retain(|_, signings| !signings.is_over(now));
        }
        let open = &mut accounts.entry(account).or_default().open;
        pairs.iter().for_each(|pair| *open.entry(*pair).or_default() += 1);
        OpenSigning { signings: self.clone(), account, pairs }
    }

    /// Records that a party takes no more signings with another for the moment.
    pub(super) fn mark_full(&self, account: AccountId, by: PartyIndex, with: PartyIndex) {
        let pair = (by.min(with), by.max(with));
        self.lock().entry(account).or_default().full.insert(pair, Instant::now() + FULL_DURATION);
    }

    /// The pairs that have as many sessions as may be open.
    pub(super) fn full(&self, account: AccountId, at_most: u16) -> BTreeSet<Ban> {
        let now = Instant::now();
        let mut accounts = self.lock();
        let Some(signings) = accounts.get_mut(&account) else { return BTreeSet::new() };
        signings.full.retain(|_, until| *until > now);
        let counted = signings.open.iter().filter(|(_, open)| **open >= u32::from(at_most));
        counted.map(|(pair, _)| *pair).chain(signings.full.keys().copied()).collect()
    }

    /// Waits until a session of an account has ended, or a little.
    pub(super) async fn wait_for_release(&self, account: AccountId) {
        let released = Arc::clone(&self.lock().entry(account).or_default().released);
        let _ = tokio::time::timeout(RELEASE_TIMEOUT, released.notified()).await;
    }
}

impl Drop for OpenSigning {
    fn drop(&mut self) {
        let (mut accounts, now) = (self.signings.lock(), Instant::now());
        let Some(signings) = accounts.get_mut(&self.account) else { return };
        for pair in &self.pairs {
            if let Some(open) = signings.open.get_mut(pair) {
                *open -= 1;
            }
        }
        signings.open.retain(|_, open| *open > 0);
        signings.released.notify_one();
        if signings.is_over(now) {
            accounts.remove(&self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pair_is_full_when_as_many_sessions_are_open_as_may_be_or_a_party_says_so() {
        let signings = OpenSignings::default();
        let account = AccountId([1; 16]);
        let all: Vec<PartyIndex> = PartyIndex::all(3).collect();
        let (first, both) = (signings.begin(account, &all[..2]), signings.begin(account, &all));
        assert_eq!(signings.full(account, 2), BTreeSet::from([(all[0], all[1])]));
        assert_eq!(signings.full(account, 1).len(), 3);
        assert!(signings.full(AccountId([2; 16]), 1).is_empty());
        drop(first);
        assert!(signings.full(account, 2).is_empty());
        signings.mark_full(account, all[2], all[0]);
        assert_eq!(signings.full(account, 2), BTreeSet::from([(all[0], all[2])]));
        drop(both);
        tokio::time::advance(FULL_DURATION).await;
        assert!(signings.full(account, 1).is_empty());
        drop(signings.begin(account, &all));
        assert!(signings.lock().is_empty(), "an account without sessions is remembered");
    }
}
