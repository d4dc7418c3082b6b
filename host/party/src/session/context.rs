//! The context that all phases of a session share.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_backends::database::StoreError;
use quorate_core::abort::{Abort, AbortCode};
use quorate_core::admission::Admitted;
use quorate_core::order::Order;
use quorate_core::plan::Plan;
use quorate_core::report::Outcome;
use quorate_core::{PartyIndex, PlanHash, SessionId, UnixMillis};
use quorate_party_store::{AdmissionFacts, DecidedIn, Started};
use quorate_runtime::SessionNeed;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::running_sessions::RunningSession;
use crate::bans::SessionParties;
use crate::party::Party;
use crate::registry::RegisteredPlugin;

/// The context that all phases of a session share: the party, the plan, and the facts of its admission.
pub(super) struct SessionContext {
    pub(super) party: Arc<Party>,
    pub(super) plan: Plan,
    pub(super) plan_hash: PlanHash,
    pub(super) id: SessionId,
    pub(super) admitted: Admitted,
    /// The component that it runs on.
    pub(super) entry: RegisteredPlugin,
    /// What the component needs at most, as it says itself.
    pub(super) need: SessionNeed,
    /// The party's facts at the admission of the plan.
    pub(super) facts: AdmissionFacts,
    /// Lives for as long as anything of the session may be sent.
    pub(super) running: Arc<RunningSession>,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

/// Why a phase has nothing for the next one.
pub(super) enum PhaseError {
    /// The session is aborted.
    Aborted(Abort),
    /// The party's store failed.
    Store(StoreError),
}

impl From<Abort> for PhaseError {
    fn from(abort: Abort) -> Self {
        Self::Aborted(abort)
    }
}

impl From<StoreError> for PhaseError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl SessionContext {
    pub(super) fn new(
        party: Arc<Party>,
        plan: Plan,
        admitted: Admitted,
        entry: RegisteredPlugin,
        need: SessionNeed,
        facts: AdmissionFacts,
    ) -> Self {
        let (id, plan_hash) = (plan.session_id(), plan.hash());
        let parties = SessionParties::of(&admitted.order, &plan, &facts);
        let running = Arc::new(party.running.add(id, parties.clone()));
        // What was decided while the session was claimed has not seen it among those that run.
        if party.bans.banned_among(&parties).is_some() {
            running.banned.cancel();
            running.token.cancel();
        }
        if party.bans.is_closed(parties.account) {
            running.token.cancel();
        }
        Self { party, plan, plan_hash, id, admitted, entry, need, facts, running, permit: Mutex::default() }
    }

    pub(super) fn with_permit(self, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { permit: Mutex::new(permit), ..self }
    }

    /// Lets another session compute: what is left of this one is waiting.
    pub(super) fn release_permit(&self) {
        drop(self.permit.lock().take());
    }

    pub(super) fn order(&self) -> &Order {
        &self.admitted.order
    }

    /// This party's index.
    pub(super) fn me(&self) -> PartyIndex {
        self.admitted.me
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = PartyIndex> {
        self.plan.signers.iter().copied().filter(|&peer| peer != self.admitted.me)
    }

    pub(super) fn started(&self) -> Started {
        let (plan, session, digest) = (self.plan_hash, self.id, self.plan.digest);
        Started { plan, session, order: self.order().id, me: self.me(), digest }
    }

    /// The parties of the session, on the share set that it uses.
    pub(super) fn parties(&self) -> SessionParties {
        SessionParties::of(self.order(), &self.plan, &self.facts)
    }

    /// This session, as the one in which a ban is decided.
    pub(super) fn decided_here(&self) -> DecidedIn {
        DecidedIn { session: self.id, plan: self.plan_hash }
    }

    /// The chain code of the account's key, where it has one.
    pub(super) fn chain_code(&self) -> Option<&[u8; 32]> {
        self.facts.record.as_ref().and_then(|record| record.key.chain_code.as_ref())
    }

    /// Cancelled when the coordinator has cancelled the session, or the party is shutting down.
    pub(super) fn cancelled(&self) -> CancellationToken {
        self.running.token.clone()
    }

    /// Whether the coordinator has given the session up, for no reason that this party has.
    pub(super) fn is_given_up(&self) -> bool {
        let parties = self.parties();
        let bans = &self.party.bans;
        self.running.token.is_cancelled()
            && !self.party.closing.is_cancelled()
            && !self.party.is_set_back()
            && !bans.is_closed(parties.account)
            && bans.banned_among(&parties).is_none()
    }

    /// Why the session's token is cancelled.
    pub(super) fn cancellation(&self) -> Abort {
        let parties = self.parties();
        let is_closed = self.party.bans.is_closed(parties.account);
        if let Some(banned) = self.party.bans.banned_among(&parties) {
            let reason = format!("party {banned} was banned in another session of this account");
            return Abort { culprits: vec![banned], ..Abort::of(AbortCode::Ban, reason) };
        }
        let reason = if self.party.is_set_back() {
            "the party was set back to an earlier state"
        } else if is_closed {
            "a ban on this account can't be stored: the party's database fails"
        } else if self.party.closing.is_cancelled() {
            "the party is shutting down"
        } else {
            "the coordinator has cancelled the session"
        };
        Abort::of(AbortCode::Unavailable, reason)
    }

    /// How long the session may still take.
    pub(super) fn remaining(&self) -> Duration {
        self.plan.deadline.since(self.now())
    }

    /// The time.
    pub(super) fn now(&self) -> UnixMillis {
        self.party.clock.millis()
    }

    /// Records that this party has ended the session and never promises anything for it. Only then may peers hear of
    /// it.
    pub(super) async fn record_abort(&self, abort: Abort) -> Result<Outcome, StoreError> {
        self.party.store.abort(self.plan_hash).await?;
        Ok(self.aborted_outcome(abort))
    }

    /// The report of an abort that has been recorded.
    pub(super) fn aborted_outcome(&self, abort: Abort) -> Outcome {
        self.party.aborted_outcome(self.plan_hash, self.me(), abort)
    }
}
