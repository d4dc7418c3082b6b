//! Bans as far as they are known here: which party never works with which other on which account. A hint that saves
//! sessions: each party holds to its own bans, whatever a coordinator knows.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;
use quorate_core::abort::AbortCode;
use quorate_core::report::{Outcome, RefusedCode};
use quorate_core::{AccountId, PartyIndex};

/// Accounts whose bans are remembered between sessions. What is forgotten is learned again from a refusal.
const MAX_ACCOUNTS: usize = 10_000;

/// A party, and the counterparty that it has banned.
pub(crate) type Ban = (PartyIndex, PartyIndex);

/// The bans that are known here.
#[derive(Default)]
pub(crate) struct KnownBans(Mutex<HashMap<AccountId, BTreeSet<Ban>>>);

impl KnownBans {
    /// The bans of an account.
    pub(crate) fn of(&self, account: AccountId) -> BTreeSet<Ban> {
        let bans = self.0.lock();
        bans.get(&account).cloned().unwrap_or_default()
    }

    /// Records the bans that a party's outcome tells of.
    pub(crate) fn record(&self, account: AccountId, by: PartyIndex, outcome: &Outcome) {
        let culprits = match outcome {
            Outcome::Aborted { code: AbortCode::Ban, culprits, .. } => culprits,
            Outcome::Refused { code: RefusedCode::Banned, culprits, .. } => culprits,
            _ => return,
        };
        let mut bans = self.0.lock();
        if bans.len() >= MAX_ACCOUNTS && !bans.contains_key(&account) {
            bans.clear();
        }
        bans.entry(account).or_default().extend(culprits.iter().map(|&culprit| (by, culprit)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_partys_own_ban_is_recorded_and_for_its_account_alone() {
        let bans = KnownBans::default();
        let [one, two, three] = [1, 2, 3].map(|number| PartyIndex::try_from(number).unwrap());
        let account = AccountId([1; 16]);
        let aborted = |code, culprit| Outcome::Aborted {
            code,
            plugin_code: None,
            culprits: vec![culprit],
            reason: String::new(),
            notice: None,
        };
        bans.record(account, one, &aborted(AbortCode::Timeout, two));
        bans.record(account, one, &aborted(AbortCode::PeerFault, two));
        assert!(bans.of(account).is_empty(), "a fault is no ban");
        bans.record(account, one, &aborted(AbortCode::Ban, two));
        let (code, reason) = (RefusedCode::Banned, String::new());
        bans.record(account, three, &Outcome::Refused { code, culprits: vec![one], reason, notice: None });
        assert_eq!(bans.of(account), BTreeSet::from([(one, two), (three, one)]));
        assert!(bans.of(AccountId([2; 16])).is_empty());
    }

    #[test]
    fn no_more_accounts_are_remembered_than_there_is_room_for() {
        let bans = KnownBans::default();
        let ban = Outcome::Aborted {
            code: AbortCode::Ban,
            plugin_code: None,
            culprits: vec![PartyIndex::FIRST],
            reason: String::new(),
            notice: None,
        };
        for number in 0..=MAX_ACCOUNTS as u128 {
            bans.record(AccountId(number.to_be_bytes()), PartyIndex::FIRST, &ban);
        }
        assert!(bans.0.lock().len() <= MAX_ACCOUNTS);
        assert!(
            !bans.of(AccountId((MAX_ACCOUNTS as u128).to_be_bytes())).is_empty(),
            "the latest is forgotten"
        );
    }
}
