//! Collects the reports of one session, until it is known how it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_control_store::SessionStatus;
use quorate_core::codec::encode;
use quorate_core::report::{Outcome, RefusedCode};
use quorate_core::{PartyIndex, SessionId, UnixMillis};
use quorate_proto::v1::submit_event::Event;
use quorate_verify::proof::proved_together;

use super::outbox::NotQueued;
use super::state::CoordinatorState;
use super::submission::SubmittedOrder;
use super::verdict::{Verdict, suspects, verdict};
use super::waiters::{RankedReport, Wait};

/// How long the others may still report after one has told that it failed.
const FAILURE_GRACE_PERIOD: Duration = Duration::from_millis(500);

/// How often the store is asked for reports that another coordinator has taken.
const REPORT_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// How a session failed.
pub(super) struct SessionFailure {
    pub(super) verdict: Verdict,
    /// Suspects: parties that were silent, failed, accused a peer or were accused.
    pub(super) suspects: BTreeSet<PartyIndex>,
    /// Whether a party says that it starts no further session of the order: the report of an earlier session's result
    /// may be on its way.
    pub(super) order_exhausted: bool,
    /// Pairs of which one party takes no more signings with the other for the moment: that is no failure of either.
    pub(super) full: Vec<(PartyIndex, PartyIndex)>,
}

impl SessionFailure {
    /// A session whose plan did not reach all its parties.
    pub(super) fn unpublished(why: &NotQueued) -> Self {
        let suspects = why.is_of_this_party().then_some(why.party).into_iter().collect();
        Self { verdict: why.error.into(), suspects, order_exhausted: false, full: vec![] }
    }
}

/// Collects the reports of one session.
pub(super) struct Collector<'a> {
    state: &'a CoordinatorState,
    request: &'a SubmittedOrder,
    session: SessionId,
    signers: &'a [PartyIndex],
    /// When the collection ends.
    until: UnixMillis,
    outcomes: BTreeMap<PartyIndex, Outcome>,
    proved: bool,
    ends_without_room: bool,
}

impl<'a> Collector<'a> {
    pub(super) fn new(
        state: &'a CoordinatorState,
        request: &'a SubmittedOrder,
        session: SessionId,
        signers: &'a [PartyIndex],
        until: UnixMillis,
    ) -> Self {
        Self {
            state,
            request,
            session,
            signers,
            until,
            outcomes: BTreeMap::new(),
            proved: false,
            ends_without_room: false,
        }
    }

    /// Ends as soon as a party says that it has no room. A plan with presignatures is refused in this way where they are gone; the
    /// order is then carried out without them, and no other report says more.
    pub(super) fn that_ends_without_room(self) -> Self {
        Self { ends_without_room: true, ..self }
    }

    /// Passes on reports until all signers have reported or the time is up. Returns what they have reported of a session with
    /// a result.
    pub(super) async fn collect(
        mut self,
        wait: &mut Wait<'_>,
    ) -> Result<BTreeMap<PartyIndex, Outcome>, SessionFailure> {
        while self.outcomes.len() < self.signers.len() {
            let left = self.until.since(self.state.services.now());
            match tokio::time::timeout(left.min(REPORT_POLL_INTERVAL), wait.reports.recv()).await {
                Ok(Some(report)) => self.take(report),
                Ok(None) => break,
                Err(_) if left <= REPORT_POLL_INTERVAL => break,
                Err(_) => self.poll().await,
            }
        }
        // What only proves something together is looked at together: any report may have been the last.
        let together = || {
            let (order, chain_code) = (&self.request.order, self.request.chain_code());
            proved_together(order, chain_code, self.signers, &self.outcomes).is_some()
        };
        if self.proved || together() {
            return Ok(self.outcomes);
        }
        let mut suspects = suspects(self.signers, &self.outcomes);
        if suspects.is_empty() {
            // It may be any of them.
            suspects.extend(self.signers);
        }
        let is_exhausted =
            |outcome: &Outcome| matches!(outcome, Outcome::Refused { code: RefusedCode::OrderExhausted, .. });
        let order_exhausted = self.outcomes.values().any(is_exhausted);
        let full = self.outcomes.iter().filter_map(|(by, outcome)| match outcome {
            Outcome::Refused { code: RefusedCode::NoRoom, culprits, .. } => {
                let with = *culprits.first()?;
                (with != *by && self.signers.contains(&with)).then_some((*by, with))
            }
            _ => None,
        });
        let full = full.collect();
        Err(SessionFailure {
            verdict: verdict(self.signers, &self.outcomes),
            suspects,
            order_exhausted,
            full,
        })
    }

    fn take(&mut self, report: RankedReport) {
        self.proved |= report.is_proof();
        self.request.tell(Event::Report(encode(&report.signed).into()));
        let (by, outcome) = (report.signed.report.by, report.signed.report.outcome);
        let has_no_room = matches!(outcome, Outcome::Refused { code: RefusedCode::NoRoom, .. });
        if self.ends_without_room && has_no_room {
            self.end_at(self.state.services.now());
        } else if matches!(outcome, Outcome::Aborted { .. } | Outcome::Refused { .. }) {
            self.end_at(self.state.services.now() + FAILURE_GRACE_PERIOD);
        }
        self.outcomes.insert(by, outcome);
    }

    /// The announcement of another coordinator may have been lost.
    async fn poll(&mut self) {
        self.state.reports.load(self.session).await;
        if self.has_lost_a_signer() || self.has_other_result().await {
            self.end_at(self.state.services.now());
        }
    }

    /// Whether another session of a signing order has completed: the parties that know of it take no part in this one.
    async fn has_other_result(&self) -> bool {
        if !self.request.is_repeatable() {
            return false;
        }
        let sessions = self.state.services.store.sessions_of(self.request.order.id).await.unwrap_or_default();
        let is_completed = |status| matches!(status, SessionStatus::Completed { .. });
        sessions.into_iter().any(|record| record.session.id != self.session && is_completed(record.status))
    }

    fn end_at(&mut self, at: UnixMillis) {
        self.until = self.until.min(at);
    }

    /// Whether a signing waits for a party that is not there any more: all signers are needed. Parties that make
    /// shares come back with their promises.
    fn has_lost_a_signer(&self) -> bool {
        let lost = |signer: &PartyIndex| {
            !self.outcomes.contains_key(signer)
                && self.request.order.spec.party(*signer).is_some_and(|key| self.state.presence.is_lost(key))
        };
        self.request.is_repeatable() && self.signers.iter().any(lost)
    }
}
