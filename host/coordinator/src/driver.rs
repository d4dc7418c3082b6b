//! Drives an order: a session, and for a signing that fails another one, with another quorum if there is one.
//!
//! Of several calls with one order one leads and makes sessions, the others follow it
//! ([`follower`](super::follower)). A keygen or refresh has one session, whichever coordinator records it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_backends::database::StoreError;
use quorate_control_store::{NewSession, RecordOutcome, SessionRecord, SessionStatus};
use quorate_core::code::Code;
use quorate_core::codec::encode;
use quorate_core::presignatures::MadePresignatures;
use quorate_core::report::Outcome;
use quorate_core::{PartyIndex, SessionId};
use quorate_net::telemetry::chain;
use quorate_net::topics::CANCELLED;

use super::collect::{Collector, SessionFailure};
use super::follower::{TakenOver, follow};
use super::in_flight::{OrderEnd, OrderRole};
use super::outbox::{NotQueued, OutgoingPlan};
use super::plan::{Carried, new_session};
use super::session_records::{
    EarlierResult, LATE_REPORTS_DURATION, await_result, forward_result, forward_session, sessions_of,
    store_unavailable, unknown,
};
use super::state::CoordinatorState;
use super::submission::SubmittedOrder;
use super::verdict::Verdict;

/// The shortest time that a session is worth beginning with.
const MIN_SESSION_DURATION: Duration = Duration::from_millis(200);

/// How often an order is tried again because a party has no room.
const MAX_REPEATS: u32 = 16;

/// How often each party was a suspect in sessions of one order.
pub(super) type FailureCounts = BTreeMap<PartyIndex, u32>;

/// Has an order carried out, in the role that the call has in it.
pub(super) async fn drive(state: Arc<CoordinatorState>, request: SubmittedOrder, role: OrderRole) {
    let (lead, resubmitted, begun) = match role {
        OrderRole::Leader(lead) => (lead, request.submission.resubmitted, vec![]),
        OrderRole::Follower(follower) => match follow(&state, &request, follower).await {
            // Its leader is gone, and may have begun something.
            Some(TakenOver { lead, followed }) => (lead, true, followed),
            None => return,
        },
    };
    let driver = OrderDriver {
        state: &state,
        request: &request,
        failures: FailureCounts::new(),
        begun,
        recorded: 0,
        without_presignatures: false,
    };
    let end = match driver.lead(resubmitted).await {
        Ok(()) => OrderEnd::Result,
        Err(verdict) => {
            request.tell_failed(verdict.clone());
            OrderEnd::Failed(verdict)
        }
    };
    lead.announce_end(end);
}

/// How much of the order's time a session takes.
#[derive(Clone, Copy)]
enum SessionTime {
    /// It is the last one.
    AllThatIsLeft,
    /// There is time for another one.
    HalfOfWhatIsLeft,
}

/// How an attempt ended without a result.
enum AttemptFailed {
    /// Another session would fail in the same way, or must not be made.
    Permanent(Verdict),
    /// Another quorum may do better.
    Retry(Verdict),
    /// As many signings were open with a party as may be: the order waits for a place, and this counts as no session of it.
    Full(Verdict),
}

/// The leader of an order.
pub(super) struct OrderDriver<'a> {
    pub(super) state: &'a CoordinatorState,
    pub(super) request: &'a SubmittedOrder,
    pub(super) failures: FailureCounts,
    /// The sessions that this call has begun, or resumed after their coordinator was gone.
    begun: Vec<SessionId>,
    /// The number of the order's latest session, as far as this call knows.
    recorded: u32,
    /// A session that was to use presignatures has failed: the next one makes its nonces itself.
    pub(super) without_presignatures: bool,
}

impl OrderDriver<'_> {
    /// Makes sessions until one has a result, or no other may follow.
    async fn lead(mut self, resubmitted: bool) -> Result<(), Verdict> {
        let led = self.try_sessions(resubmitted).await;
        if led.is_err() {
            if !self.begun.is_empty()
                && forward_result(self.state, self.request).await == EarlierResult::Forwarded
            {
                return Ok(());
            }
            self.mark_final().await;
        }
        led
    }

    async fn try_sessions(&mut self, resubmitted: bool) -> Result<(), Verdict> {
        let attempts = self.request.order.operation.max_sessions();
        let mut last = Verdict::of(Code::DeadlinePassed, "there was no time for a session");
        let mut made = 0;
        if resubmitted {
            let sessions = sessions_of(self.state, self.request).await?;
            self.note_recorded(&sessions);
            // Those for which a party had no room count as none.
            let counts = |session: &&SessionRecord| !matches!(&session.status, SessionStatus::Failed { code, .. } if code == Code::Overloaded.text());
            let counted = sessions.iter().filter(|session| !self.request.is_repeatable() || counts(session));
            made = u32::try_from(counted.count()).unwrap_or(u32::MAX);
            if let Some(latest) = sessions.into_iter().next() {
                self.begun.push(latest.session.id);
                match self.resume(latest).await {
                    Ok(()) => return Ok(()),
                    Err(verdict) => last = verdict,
                }
            }
        }
        let (mut attempt, mut repeats) = (made.saturating_add(1), 0);
        while attempt <= attempts && !self.is_late() {
            let time =
                if attempt == attempts { SessionTime::AllThatIsLeft } else { SessionTime::HalfOfWhatIsLeft };
            let Err(failed) = self.attempt(time).await else { return Ok(()) };
            let (verdict, is_permanent) = match failed {
                AttemptFailed::Permanent(verdict) => (verdict, true),
                AttemptFailed::Retry(verdict) => (verdict, false),
                // Not for ever: it is only the word of one party.
                AttemptFailed::Full(verdict) if repeats < MAX_REPEATS => {
                    (last, repeats) = (verdict, repeats + 1);
                    self.state.open_signings.wait_for_release(self.request.order.spec.account).await;
                    continue;
                }
                AttemptFailed::Full(verdict) => (verdict, false),
            };
            tracing::warn!(
                order = %self.request.order.id, attempt, code = %verdict.code, reason = verdict.reason, "attempt failed"
            );
            last = verdict;
            if is_permanent {
                break;
            }
            attempt += 1;
        }
        Err(last)
    }

    /// Notes which sessions of the order there are.
    fn note_recorded(&mut self, sessions: &[SessionRecord]) {
        let latest = sessions.iter().map(|record| record.session.attempt).max();
        self.recorded = self.recorded.max(latest.unwrap_or_default());
    }

    /// Whether there is no time for another session.
    pub(super) fn is_late(&self) -> bool {
        self.state.services.now() + MIN_SESSION_DURATION > self.request.until
    }

    /// Marks the sessions of this call as the last of the order. Otherwise an account service that recovers the order
    /// waits until the order expires.
    async fn mark_final(&self) {
        for &session in &self.begun {
            if let Err(error) = self.state.services.store.mark_final(session).await {
                tracing::warn!(error = %chain(&error), "failed to mark a session as the last of its order");
            }
        }
    }

    /// Goes on with a session that another call has begun.
    async fn resume(&mut self, record: SessionRecord) -> Result<(), Verdict> {
        match forward_session(self.state, self.request, &record).await {
            Ok(()) => Ok(()),
            Err(failure) => {
                self.cancel_session(record.session.id, &failure.verdict).await;
                self.count_suspects(&failure);
                self.earlier_result_or(failure).await
            }
        }
    }

    /// Counts the suspects of a failed session: the next quorum avoids them.
    fn count_suspects(&mut self, failure: &SessionFailure) {
        for &party in &failure.suspects {
            *self.failures.entry(party).or_default() += 1;
            if let Some(key) = self.request.order.spec.party(party) {
                self.state.presence.suspect(key);
            }
        }
    }

    /// Returns the failure of a session, unless an earlier session of the order has a result.
    async fn earlier_result_or(&self, failure: SessionFailure) -> Result<(), Verdict> {
        let earlier = if failure.order_exhausted {
            await_result(self.state, self.request).await
        } else {
            forward_result(self.state, self.request).await
        };
        match earlier {
            EarlierResult::Forwarded => Ok(()),
            EarlierResult::None => Err(failure.verdict),
        }
    }

    /// Runs one session of the order.
    async fn attempt(&mut self, time: SessionTime) -> Result<(), AttemptFailed> {
        let (state, request) = (self.state, self.request);
        let quorum = self.quorum_with_queues().await.map_err(AttemptFailed::Permanent)?;
        let now = state.services.now();
        let deadline = match time {
            SessionTime::AllThatIsLeft => request.until,
            SessionTime::HalfOfWhatIsLeft => now + request.until.since(now) / 2,
        };
        let erasure = state.erasures.of(&request.order).await;
        let presignatures = self.take_presignatures(&quorum.signers);
        let uses_presignatures = presignatures.is_some();
        let presignatures_left = self.presignatures_left(&quorum);
        let carried = Carried { erasure, bans: state.bans.of(&request.order).await, presignatures };
        let _open = request
            .is_signing()
            .then(|| state.open_signings.begin(request.order.spec.account, &quorum.signers));
        let (session, plan) = new_session(request, quorum, self.recorded + 1, carried, now, deadline)
            .map_err(AttemptFailed::Permanent)?;
        let outgoing = OutgoingPlan { order: &request.order, plan: &plan, bytes: encode(&plan) };
        let recorded = state.services.store.record_session(&session, &outgoing.bytes).await;
        match recorded.map_err(not_recorded).map_err(AttemptFailed::Permanent)? {
            RecordOutcome::Recorded => {
                self.recorded = session.attempt;
                self.begun.push(session.id);
            }
            RecordOutcome::AttemptTaken => return self.follow_other().await,
        }
        let mut wait = state.reports.waiters.wait(&session, &request.order);
        let published = self.publish(&outgoing, &session).await;
        request.tell_started(&session, presignatures_left);
        let failure = match published {
            Ok(()) => {
                let until = deadline + LATE_REPORTS_DURATION;
                let collector = Collector::new(state, request, session.id, &session.signers, until);
                let collector =
                    if uses_presignatures { collector.that_ends_without_room() } else { collector };
                match collector.collect(&mut wait).await {
                    Ok(outcomes) => {
                        self.keep_presignatures(&session.signers, &outcomes);
                        return Ok(());
                    }
                    Err(failure) => failure,
                }
            }
            Err(why) => SessionFailure::unpublished(&why),
        };
        self.end_failed(&session, failure, uses_presignatures).await
    }

    /// Publishes the plan of a session.
    async fn publish(&self, plan: &OutgoingPlan<'_>, session: &NewSession) -> Result<(), NotQueued> {
        match self.state.outbox.publish(plan).await {
            // A session that no other can replace waits in the outbox: the queue may be back in time.
            Err(NotQueued { party, error }) if !self.request.is_repeatable() => {
                tracing::warn!(
                    error = %chain(&error), %party, session = %session.id, "plan not published; it waits in the outbox"
                );
                Ok(())
            }
            other => other,
        }
    }

    /// Ends a session that has failed, unless an earlier one has a result, and says what may follow.
    async fn end_failed(
        &mut self,
        session: &NewSession,
        failure: SessionFailure,
        used_presignatures: bool,
    ) -> Result<(), AttemptFailed> {
        let (state, account) = (self.state, self.request.order.spec.account);
        self.cancel_session(session.id, &failure.verdict).await;
        // A party that has no room is no worse than others, but others are tried first.
        for (by, with) in &failure.full {
            state.open_signings.mark_full(account, *by, *with);
            *self.failures.entry(*by).or_default() += 1;
        }
        let is_full = self.request.is_signing() && !failure.full.is_empty();
        if used_presignatures && !is_full {
            // Whoever has lost them, or can't use them, is as good as before.
            state.presignatures.forget(account, &session.signers);
            self.without_presignatures = true;
        }
        let has_lost_them = used_presignatures && failure.verdict.code == Code::Overloaded;
        if !is_full && !has_lost_them {
            self.count_suspects(&failure);
        }
        let Err(verdict) = self.earlier_result_or(failure).await else { return Ok(()) };
        if is_full {
            return Err(AttemptFailed::Full(verdict));
        }
        // A refusal may be one party's lie or mistake, and a full queue that of one party: another quorum decides.
        Err(AttemptFailed::Retry(verdict))
    }

    /// Keeps the presignatures that a session has made, if it was to make some.
    fn keep_presignatures(&self, signers: &[PartyIndex], outcomes: &BTreeMap<PartyIndex, Outcome>) {
        let order = &self.request.order;
        if let (Some(made), Some(share_set)) =
            (MadePresignatures::of(order, signers, outcomes), order.share_set)
        {
            self.state.presignatures.add(order.spec.account, share_set, signers, &made);
        }
    }

    /// Goes on with the session that another coordinator has begun meanwhile.
    async fn follow_other(&mut self) -> Result<(), AttemptFailed> {
        let sessions = sessions_of(self.state, self.request).await.map_err(AttemptFailed::Permanent)?;
        self.note_recorded(&sessions);
        let theirs = sessions.into_iter().next();
        let theirs = theirs.ok_or_else(|| AttemptFailed::Permanent(unknown("a session is gone")))?;
        if self.request.is_repeatable() {
            // Its coordinator goes on, and says itself which session is the last.
            return self.resume(theirs).await.map_err(AttemptFailed::Retry);
        }
        self.begun.push(theirs.session.id);
        self.resume(theirs).await.map_err(AttemptFailed::Permanent)
    }

    /// Ends a session that has failed, here and at its parties.
    async fn cancel_session(&self, id: SessionId, verdict: &Verdict) {
        // Its parties need not wait for its deadline.
        self.state.services.announce(CANCELLED, id.as_bytes().to_vec());
        let status = verdict.clone().into_status(self.state.services.now());
        if let Err(error) = self.state.services.store.end_session(id, &status).await {
            tracing::error!(error = %chain(&error), "failed to record the end of a session");
        }
    }
}

fn not_recorded(error: StoreError) -> Verdict {
    tracing::error!(error = %chain(&error), "failed to record a session");
    match error {
        // The insert may have succeeded; a resubmission finds the session.
        StoreError::Unavailable(_) => store_unavailable(),
        _ => Verdict::of(Code::Internal, "the coordinator's database failed"),
    }
}
