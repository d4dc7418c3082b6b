//! Carrying out an order: a session, and for a signing that fails another one, with another quorum if there is one.
//!
//! Of several calls with one order one leads and makes sessions, the others follow it. A keygen or refresh has one session,
//! whichever coordinator records it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_backends::database::StoreError;
use quorate_backends::queue::QueueError;
use quorate_control_store::{NewSession, RecordOutcome, SessionRecord, SessionStatus};
use quorate_core::abort::AbortCode;
use quorate_core::admission::SESSIONS_PER_ORDER;
use quorate_core::code::Code;
use quorate_core::codec::encode;
use quorate_core::identity::key_of;
use quorate_core::order::{Operation, Order};
use quorate_core::plan::Plan;
use quorate_core::report::{Outcome, RefusedCode};
use quorate_core::submission::Submission;
use quorate_core::{PartyIndex, SessionId};
use quorate_net::topics::CANCELLED;
use quorate_proto::v1::submit_event::Event;
use quorate_proto::v1::{Failure, Started};
use quorate_verify::proof::proved_by_promises;
use tokio::sync::mpsc;

use super::Coordinator;
use super::in_flight::{End, Follow, Lead, Part, TooMany};
use super::outbox::Outgoing;
use super::quorum::{Choice, Known, NoQuorum, choose};
use super::reports::Weighed;
use super::verdict::{Verdict, troubled, verdict};

/// How long after a session's deadline its parties may still report, in milliseconds.
pub(super) const LATE_REPORTS: u64 = 1_000;

/// How long to wait for parties that are not there, in milliseconds: as long as a restart of one takes.
const WAIT_FOR_PARTIES: u64 = 3_000;

/// The shortest time that a session is worth beginning with, in milliseconds.
const SHORTEST: u64 = 200;

/// How long the others may still report after one has told that it failed, in milliseconds.
const AFTER_FAILURE: u64 = 500;

/// How often the store is looked at for reports that another coordinator has taken.
const LOOK: Duration = Duration::from_millis(500);

/// How often an order that somebody else leads is looked at.
const FOLLOW: Duration = Duration::from_millis(200);

/// How often each party had trouble in sessions of one order, or made some.
type Trouble = BTreeMap<PartyIndex, u32>;

/// An order to carry out.
pub(super) struct Submitted {
    pub(super) order: Order,
    /// What it came in.
    pub(super) submission: Submission,
    /// When all is over, in milliseconds since 1970.
    pub(super) until: u64,
    /// Where to tell of it. Nobody may be listening any more.
    pub(super) events: mpsc::Sender<Event>,
    /// The sessions that this call has begun or gone on with.
    pub(super) begun: Mutex<Vec<SessionId>>,
}

impl Submitted {
    /// There is room for all events of an order: whoever reads none of them misses them.
    fn tell(&self, event: Event) {
        let _ = self.events.try_send(event);
    }

    fn started(&self, session: &NewSession) {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).push(session.id);
        self.tell(Event::Started(Started {
            session: bytes::Bytes::copy_from_slice(session.id.as_bytes()),
            signers: session.signers.iter().map(|s| s.number().into()).collect(),
            digest: bytes::Bytes::copy_from_slice(session.digest.as_bytes()),
        }));
    }

    fn ended(&self, verdict: Verdict) {
        let culprits = verdict.culprits.iter().map(|c| u32::from(c.number())).collect();
        self.tell(Event::Ended(Failure {
            code: verdict.code.text().into(),
            reason: verdict.reason,
            culprits,
        }));
    }
}

/// How a session ended without a result, and whether another is worth a try.
struct NoResult {
    verdict: Verdict,
    again: bool,
}

impl NoResult {
    fn for_good(verdict: Verdict) -> Self {
        Self { verdict, again: false }
    }
}

impl Coordinator {
    /// Has an order carried out, as the part of the call in it is.
    pub(super) async fn carry_out(self: Arc<Self>, submitted: Submitted, part: Part) {
        let (lead, again) = match part {
            Part::Lead(lead) => (lead, submitted.submission.again),
            Part::Follow(follow) => match self.follow(&submitted, follow).await {
                // Its leader is gone, and may have begun something.
                Some(lead) => (lead, true),
                None => return,
            },
        };
        let end = match self.lead(&submitted, again).await {
            Ok(()) => End::Result,
            Err(verdict) => {
                self.mark_final(&submitted).await;
                submitted.ended(verdict.clone());
                End::Failed(verdict)
            }
        };
        lead.ended(end);
    }

    /// Notes that this call makes no other session. Without that, whoever looks for what came of the order waits until its
    /// time is over.
    async fn mark_final(&self, submitted: &Submitted) {
        let begun = std::mem::take(&mut *submitted.begun.lock().unwrap_or_else(PoisonError::into_inner));
        for session in begun {
            if let Err(error) = self.setup.store.mark_final(session).await {
                tracing::warn!(%error, "that an order was given up could not be noted");
            }
        }
    }

    /// Makes sessions until one has a result, or no other may follow.
    async fn lead(&self, submitted: &Submitted, again: bool) -> Result<(), Verdict> {
        let attempts = match submitted.order.operation {
            Operation::Sign(_) => SESSIONS_PER_ORDER,
            // A share that was promised in a first session would stand in the way of a second.
            Operation::Keygen | Operation::Refresh => 1,
        };
        let mut trouble = BTreeMap::new();
        let mut last = Verdict::of(Code::DeadlinePassed, "there was no time for a session");
        let mut made = 0;
        if again {
            let sessions = self.sessions_of(submitted).await?;
            made = u32::try_from(sessions.len()).unwrap_or(u32::MAX);
            if let Some(latest) = sessions.into_iter().next() {
                match self.go_on(submitted, latest, &mut trouble).await {
                    Ok(()) => return Ok(()),
                    Err(verdict) => last = verdict,
                }
            }
        }
        for attempt in made.saturating_add(1)..=attempts {
            let now = self.setup.clock.millis();
            if now.saturating_add(SHORTEST) > submitted.until {
                break;
            }
            let Err(NoResult { verdict, again }) =
                self.attempt(submitted, attempt == attempts, &mut trouble).await
            else {
                return Ok(());
            };
            tracing::warn!(
                order = %submitted.order.id, attempt, code = %verdict.code, reason = verdict.reason,
                "an order was not carried out"
            );
            last = verdict;
            if !again {
                break;
            }
        }
        Err(last)
    }

    /// Passes on what another call's sessions lead to, and how that call ended. Gives the lead if nobody has it any more.
    async fn follow(&self, submitted: &Submitted, mut follow: Follow) -> Option<Lead> {
        let (mut trouble, mut told) = (BTreeMap::new(), None);
        let patience = submitted.until.saturating_add(2 * LATE_REPORTS);
        loop {
            let end = tokio::time::timeout(FOLLOW, follow.leader_ended()).await;
            // Its leader decides what becomes of a session.
            let latest = self.sessions_of(submitted).await.ok().and_then(|all| all.into_iter().next());
            if let Some(latest) = latest.filter(|latest| told != Some(latest.session.id)) {
                told = Some(latest.session.id);
                if self.pass_on(submitted, &latest, &mut trouble).await.is_ok() {
                    return None;
                }
            }
            match end {
                Ok(Some(End::Failed(verdict))) => {
                    submitted.ended(verdict);
                    return None;
                }
                // Whoever asks again finds it.
                Ok(Some(End::Result)) => {
                    submitted.ended(unknown("the order has a result that can't be read now"));
                    return None;
                }
                Ok(None) => match self.in_hand.take(submitted.order.id) {
                    Ok(Part::Lead(lead)) => return Some(lead),
                    Ok(Part::Follow(another)) => follow = another,
                    Err(TooMany) => {
                        submitted.ended(Verdict::of(Code::Overloaded, "the order was submitted too often"));
                        return None;
                    }
                },
                Err(_) if self.setup.clock.millis() >= patience => {
                    submitted.ended(unknown("whoever carries the order out does not come to an end"));
                    return None;
                }
                Err(_) => {}
            }
        }
    }

    /// What was made for an order. Without knowing that nothing is begun.
    async fn sessions_of(&self, submitted: &Submitted) -> Result<Vec<SessionRecord>, Verdict> {
        self.setup.store.sessions_of(submitted.order.id).await.map_err(|error| {
            tracing::warn!(%error, "it is not known what was made for an order");
            unknown("the control database does not answer")
        })
    }

    /// Goes on with a session that somebody has begun.
    async fn go_on(
        &self,
        submitted: &Submitted,
        record: SessionRecord,
        trouble: &mut Trouble,
    ) -> Result<(), Verdict> {
        let passed_on = self.pass_on(submitted, &record, trouble).await;
        if let Err(verdict) = &passed_on {
            self.give_up(record.session.id, verdict).await;
        }
        passed_on
    }

    /// Passes on what a session leads to.
    async fn pass_on(
        &self,
        submitted: &Submitted,
        record: &SessionRecord,
        trouble: &mut Trouble,
    ) -> Result<(), Verdict> {
        let session = &record.session;
        submitted.started(session);
        let mut wait = self.waiting.wait(session, &submitted.order);
        self.look_for_reports(session.id).await;
        // One that is over has nothing more to wait for.
        let until = match record.status {
            SessionStatus::Running => session.deadline.saturating_add(LATE_REPORTS),
            SessionStatus::Completed { .. } | SessionStatus::Failed { .. } => 0,
        };
        self.gather(submitted, session.id, &session.signers, &mut wait.reports, until, trouble).await
    }

    /// One session; the last one takes all the time that is left.
    async fn attempt(
        &self,
        submitted: &Submitted,
        is_last: bool,
        trouble: &mut Trouble,
    ) -> Result<(), NoResult> {
        let choice = self.quorum(submitted, trouble).await.map_err(NoResult::for_good)?;
        let order = &submitted.order;
        let now = self.setup.clock.millis();
        let left = submitted.until.saturating_sub(now);
        // Every other leaves time for another.
        let deadline = if is_last { submitted.until } else { now + left / 2 };
        let (session, plan) = session(submitted, choice, (now, deadline)).map_err(NoResult::for_good)?;
        let outgoing = Outgoing { order, plan: &plan, bytes: encode(&plan) };
        self.check_room(&outgoing).await.map_err(NoResult::for_good)?;
        let recorded = self.setup.store.record_session(&session, &outgoing.bytes).await;
        match recorded.map_err(not_recorded).map_err(NoResult::for_good)? {
            RecordOutcome::Recorded => {}
            // Another coordinator has begun it meanwhile.
            RecordOutcome::OrderHasSession => {
                let theirs = self.sessions_of(submitted).await.map_err(NoResult::for_good)?;
                let theirs = theirs.into_iter().next();
                let theirs = theirs.ok_or_else(|| NoResult::for_good(unknown("a session is gone")))?;
                return self.go_on(submitted, theirs, trouble).await.map_err(NoResult::for_good);
            }
        }
        let mut wait = self.waiting.wait(&session, order);
        let published = match self.publish(&outgoing).await {
            // What can have no other session waits in the outbox: the queue may be back in time.
            Err(error) if session.exclusive => {
                tracing::warn!(%error, session = %session.id, "a plan is published later");
                Ok(())
            }
            other => other,
        };
        submitted.started(&session);
        let ended = match published {
            Ok(()) => {
                let until = deadline.saturating_add(LATE_REPORTS);
                self.gather(submitted, session.id, &session.signers, &mut wait.reports, until, trouble).await
            }
            Err(QueueError::Full) => Err(Verdict::of(Code::Overloaded, "a party's queue is full")),
            Err(QueueError::Unavailable) => Err(Verdict::of(Code::Unavailable, "the queue does not answer")),
        };
        let Err(verdict) = ended else { return Ok(()) };
        self.give_up(session.id, &verdict).await;
        // A refusal may be one party's lie or mistake: another quorum decides. A full queue is full for all.
        let again = verdict.code != Code::Overloaded;
        Err(NoResult { verdict, again })
    }

    /// Ends a session that has failed, here and at its parties.
    async fn give_up(&self, id: SessionId, verdict: &Verdict) {
        // Nobody need wait for its deadline.
        self.announce(CANCELLED, id.as_bytes().to_vec());
        let status = SessionStatus::Failed {
            at: self.setup.clock.millis(),
            code: verdict.code.text().into(),
            reason: verdict.reason.clone(),
            culprits: verdict.culprits.clone(),
        };
        if let Err(error) = self.setup.store.end_session(id, &status).await {
            tracing::error!(%error, cause = ?std::error::Error::source(&error), "the end of a session was not recorded");
        }
    }

    /// Chooses a quorum; waits a little for parties that are not there.
    async fn quorum(&self, submitted: &Submitted, trouble: &Trouble) -> Result<Choice, Verdict> {
        let order = &submitted.order;
        let patience = self.setup.clock.millis().saturating_add(WAIT_FOR_PARTIES).min(submitted.until);
        loop {
            let (there, banned) = (self.presence.there(), self.bans_of(order.account));
            let known = Known { there: &there, banned: &banned, trouble, turn: self.next_turn() };
            let why = match choose(order, &submitted.submission.signers, &known) {
                Ok(choice) => return Ok(choice),
                Err(why) => why,
            };
            let waiting_helps = matches!(why, NoQuorum::Missing(_) | NoQuorum::NoPlugin);
            if !waiting_helps || self.setup.clock.millis() >= patience {
                return Err(no_quorum(why));
            }
            self.presence.next_heartbeat().await;
        }
    }

    /// Passes on reports until all signers have reported or the time is up.
    async fn gather(
        &self,
        submitted: &Submitted,
        session: SessionId,
        signers: &[PartyIndex],
        reports: &mut mpsc::Receiver<Weighed>,
        until: u64,
        trouble: &mut Trouble,
    ) -> Result<(), Verdict> {
        let mut outcomes: BTreeMap<PartyIndex, Outcome> = BTreeMap::new();
        let mut success = false;
        // When it is known that the session has failed, the others' word is waited for a little longer.
        let mut until = until;
        while outcomes.len() < signers.len() {
            let left = Duration::from_millis(until.saturating_sub(self.setup.clock.millis()));
            let report = match tokio::time::timeout(left.min(LOOK), reports.recv()).await {
                Ok(Some(report)) => report,
                Ok(None) => break,
                Err(_) if left <= LOOK => break,
                Err(_) => {
                    // The word of another coordinator may have been lost.
                    self.look_for_reports(session).await;
                    if self.has_lost_a_signer(&submitted.order, signers, &outcomes) {
                        until = until.min(self.setup.clock.millis());
                    }
                    continue;
                }
            };
            success |= report.is_proof();
            submitted.tell(Event::Report(encode(&report.signed).into()));
            let (by, outcome) = (report.signed.report.by, report.signed.report.outcome);
            self.learn(submitted, by, &outcome);
            if matches!(outcome, Outcome::Aborted { .. } | Outcome::Refused { .. }) {
                until = until.min(self.setup.clock.millis().saturating_add(AFTER_FAILURE));
            }
            outcomes.insert(by, outcome);
        }
        let chain_code = submitted.submission.chain_code.as_ref();
        // Reported promises are looked at together by whoever took the last one in.
        success |= proved_by_promises(&submitted.order, chain_code, outcomes.values()).is_some();
        if success {
            return Ok(());
        }
        let mut troubled = troubled(signers, &outcomes);
        if troubled.is_empty() {
            // It may be any of them.
            troubled.extend(signers);
        }
        for party in troubled {
            *trouble.entry(party).or_default() += 1;
        }
        Err(verdict(signers, &outcomes))
    }

    /// Whether a signing waits for a party that is not there any more: all signers are needed. Those who make shares come
    /// back with their promises.
    fn has_lost_a_signer(
        &self,
        order: &Order,
        signers: &[PartyIndex],
        outcomes: &BTreeMap<PartyIndex, Outcome>,
    ) -> bool {
        let lost = |signer: &PartyIndex| {
            !outcomes.contains_key(signer)
                && key_of(&order.parties, *signer).is_some_and(|key| self.presence.has_lost(key))
        };
        matches!(order.operation, Operation::Sign(_)) && signers.iter().any(lost)
    }

    /// What a report says beyond its session: who never works with whom again.
    fn learn(&self, submitted: &Submitted, by: PartyIndex, outcome: &Outcome) {
        let culprits = match outcome {
            Outcome::Aborted { code: AbortCode::Ban, culprits, .. } => culprits,
            Outcome::Refused { code: RefusedCode::Banned, culprits, .. } => culprits,
            _ => return,
        };
        for &culprit in culprits {
            self.note_ban(submitted.order.account, by, culprit);
        }
    }
}

/// A session of a quorum, from `now` to a deadline, and its plan.
fn session(
    submitted: &Submitted,
    choice: Choice,
    (now, deadline): (u64, u64),
) -> Result<(NewSession, Plan), Verdict> {
    let Submitted { order, submission, .. } = submitted;
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|_| Verdict::of(Code::Internal, "there is no randomness"))?;
    let Choice { signers, digest } = choice;
    let plan = Plan {
        order: submission.order.clone(),
        signers: signers.clone(),
        digest,
        presignature: None,
        certificate: submission.certificate.clone(),
        aborts: submission.aborts.clone(),
        nonce,
        deadline,
    };
    let session = NewSession {
        id: plan.session_id(),
        order: order.id,
        exclusive: !matches!(order.operation, Operation::Sign(_)),
        account: order.account,
        ordered: encode(&submission.order),
        signers,
        chain_code: submission.chain_code,
        digest,
        created: now,
        deadline,
    };
    Ok((session, plan))
}

fn not_recorded(error: StoreError) -> Verdict {
    tracing::error!(%error, cause = ?std::error::Error::source(&error), "a session was not recorded");
    match error {
        // It may be there all the same: whoever asks again finds it.
        StoreError::Unavailable(_) => unknown("the control database does not answer"),
        _ => Verdict::of(Code::Internal, "the control database failed"),
    }
}

/// It can't be said now what became of an order.
fn unknown(reason: &str) -> Verdict {
    Verdict::of(Code::Unavailable, reason)
}

fn no_quorum(why: NoQuorum) -> Verdict {
    match why {
        NoQuorum::Missing(parties) => {
            let list: Vec<String> = parties.iter().map(ToString::to_string).collect();
            Verdict::of(Code::PartiesUnavailable, format!("parties {} are not there", list.join(", ")))
        }
        NoQuorum::NoPlugin => Verdict::of(
            Code::PluginUnavailable,
            "the parties that are there have no active plugin in common that the order allows",
        ),
        NoQuorum::Banned => Verdict::of(
            Code::BlockedByBan,
            "every possible quorum has two parties of which one banned the other",
        ),
        NoQuorum::Wish => Verdict::of(
            Code::InvalidSigners,
            "name exactly t different parties of the account in ascending order, all mandatory ones among them",
        ),
    }
}
