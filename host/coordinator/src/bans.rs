//! Bans that parties have decided, as they signed them: which party never works with which other on a share set.
//!
//! They are kept for the parties: plans carry them to all, so that no party forgets one when it is set back to an earlier
//! state. And they are a hint that saves sessions: each party holds to its own bans, whatever a coordinator knows.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorate_backends::database::StoreError;
use quorate_core::ban::SignedBan;
use quorate_core::order::Order;
use quorate_core::report::Report;
use quorate_core::{AccountId, PartyIndex, PlanHash};
use quorate_net::telemetry::chain;

use super::services::Services;

/// How many share sets are remembered. When they are more, all are read anew.
const MAX_REMEMBERED: usize = 10_000;

/// How long they are: another coordinator may hear of a ban.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);

/// A party, and the counterparty that it has banned.
pub(super) type Ban = (PartyIndex, PartyIndex);

/// What bans are about: an account's share set, or its keygen.
type Subject = (AccountId, Option<PlanHash>);

/// The bans of all accounts.
pub(super) struct Bans {
    services: Services,
    known: Mutex<HashMap<Subject, (Instant, Vec<SignedBan>)>>,
}

fn subject(order: &Order) -> Subject {
    (order.spec.account, order.share_set)
}

impl Bans {
    pub(super) fn new(services: Services) -> Self {
        Self { services, known: Mutex::default() }
    }

    /// Keeps the bans on an order's share set that a report tells of.
    pub(super) async fn take(&self, order: &Order, report: &Report) -> Result<(), StoreError> {
        for signed in &report.bans {
            let ban = &signed.ban;
            let is_of_order = (ban.account, ban.share_set) == subject(order);
            let (now, former) = (&order.spec, order.former_spec());
            let is_signed = [now, &*former].iter().any(|spec| {
                let parties = spec.party(ban.by).zip(spec.party(ban.banned));
                parties.is_some_and(|(by, _)| signed.verify(by).is_ok())
            });
            if is_of_order && ban.by != ban.banned && is_signed {
                self.services.store.add_ban(signed).await?;
            }
        }
        if !report.bans.is_empty() {
            self.known.lock().remove(&subject(order));
        }
        Ok(())
    }

    /// The bans on the share set of an order.
    pub(super) async fn of(&self, order: &Order) -> Vec<SignedBan> {
        let subject = subject(order);
        if let Some((since, bans)) = self.known.lock().get(&subject)
            && since.elapsed() < REMEMBERED_FOR
        {
            return bans.clone();
        }
        let since = Instant::now();
        let (account, share_set) = subject;
        let bans = match self.services.store.bans(account, share_set).await {
            Ok(bans) => bans,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "failed to read the bans on a share set");
                return vec![];
            }
        };
        let mut known = self.known.lock();
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(subject, (since, bans.clone()));
        bans
    }

    /// The pairs of which one party takes part in no session of an order with the other. A refresh is tried: its parties'
    /// operators may have lifted the ban for it.
    pub(super) async fn pairs(&self, order: &Order) -> BTreeSet<Ban> {
        if order.operation.makes_shares() {
            return BTreeSet::new();
        }
        self.of(order).await.iter().map(|signed| (signed.ban.by, signed.ban.banned)).collect()
    }
}
