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
