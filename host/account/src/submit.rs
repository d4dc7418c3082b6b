//! Submits an order and waits for its result. The coordinator's word proves nothing: a report that proves itself ends
//! the wait.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_core::abort::SignedAbort;
use quorate_core::code::Code;
use quorate_core::codec::{decode, encode};
use quorate_core::identity::SecretKey;
use quorate_core::order::Order;
use quorate_core::report::{Outcome, Report, SignedReport};
use quorate_core::submission::Submission;
use quorate_core::time::whole_millis;
use quorate_core::{Digest, PartyIndex, SessionId};
use quorate_net::grpc::is_unavailable;
use quorate_net::problem::Problem;
use quorate_proto::convert::{party_index, party_indices, session_id};
use quorate_proto::v1::submit_event::Event;
use quorate_proto::v1::{Failure, Started, SubmitRequest};
use quorate_verify::proof::{Proved, proved, proved_together};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::Status;

use super::coordinators::{Coordinators, deadline_passed, problem};
use super::current_key::CurrentKey;
use super::originator::Originator;

/// How long after an order's time limit a coordinator or a party API may still answer.
pub(crate) const ANSWER_GRACE_PERIOD: Duration = Duration::from_secs(2);

/// How long to wait before another coordinator takes over.
const TAKE_OVER_DELAY: Duration = Duration::from_millis(100);

/// An order to be submitted, and what goes with it.
pub(crate) struct OrderSubmission {
    pub(crate) order: Order,
    /// The account's current key; a keygen has none.
    pub(crate) key: Option<CurrentKey>,
    /// The parties that should take part; empty: any.
    pub(crate) signers: Vec<PartyIndex>,
    /// Notices of parties that aborted an earlier keygen or refresh of the account.
    pub(crate) aborts: Vec<SignedAbort>,
    pub(crate) limit: Duration,
    /// Whether the order may have been submitted before.
    pub(crate) resubmitted: bool,
}

/// The proved result of an order.
pub(crate) struct OrderResult {
    pub(crate) proved: Proved,
    pub(crate) session: SessionId,
    pub(crate) signers: Vec<PartyIndex>,
    pub(crate) digest: Digest,
    /// How many presignatures its signers have left, as the coordinator says; `None` where they are of no use.
    pub(crate) presignatures_left: Option<u32>,
}

/// Submits orders.
#[derive(Clone)]
pub(crate) struct Submitter {
    coordinators: Coordinators,
    originator: Originator,
}

impl Submitter {
    pub(crate) fn new(coordinators: Coordinators, originator: Originator) -> Self {
        Self { coordinators, originator }
    }

    /// Signs the order, submits it and waits for its result.
    pub(crate) async fn submit(&self, submission: OrderSubmission) -> Result<OrderResult, Problem> {
        self.submit_and_announce(submission, None).await
    }

    /// Submits an order as [`submit`](Self::submit) does, and sends the first session's id to `announce` when the
    /// session has begun.
    pub(crate) async fn submit_and_announce(
        &self,
        submission: OrderSubmission,
        announce: Option<oneshot::Sender<SessionId>>,
    ) -> Result<OrderResult, Problem> {
        let until = Instant::now() + submission.limit + ANSWER_GRACE_PERIOD;
        let mut pending = PendingOrder::new(&self.coordinators, self.originator.key(), submission, announce);
        let waited = tokio::time::timeout_at(until, pending.wait()).await;
        waited.unwrap_or_else(|_| Err(deadline_passed())).map_err(|problem| pending.explain(problem))
    }
}

/// The session that was begun last.
struct StartedSession {
    id: SessionId,
    signers: Vec<PartyIndex>,
    presignatures_left: Option<u32>,
    /// The last outcome that each party reported.
    outcomes: BTreeMap<PartyIndex, Outcome>,
}

/// An order whose result is waited for, over all coordinators that are asked for it.
struct PendingOrder<'a> {
    coordinators: &'a Coordinators,
    key: SecretKey,
    order: Order,
    submission: Submission,
    announce: Option<oneshot::Sender<SessionId>>,
    session: Option<StartedSession>,
    /// How often the order has been submitted.
    calls: u32,
}

/// Why a wait at one coordinator has ended without a result.
enum WaitError {
    /// The coordinator is gone: another may carry on.
    CoordinatorLost(Status),
    Problem(Problem),
}

impl From<Status> for WaitError {
    fn from(status: Status) -> Self {
        if is_unavailable(&status) { Self::CoordinatorLost(status) } else { Self::Problem(problem(&status)) }
    }
}

impl<'a> PendingOrder<'a> {
    fn new(
        coordinators: &'a Coordinators,
        key: SecretKey,
        submission: OrderSubmission,
        announce: Option<oneshot::Sender<SessionId>>,
    ) -> Self {
        let OrderSubmission { order, key: current, signers, aborts, limit, resubmitted } = submission;
        let chain_code = current.as_ref().and_then(|current| current.outputs.chain_code);
        let submission = Submission {
            order: order.sign(&key),
            time_limit_ms: whole_millis(limit),
            signers,
            certificate: current.map(|current| current.certificate),
            aborts,
            chain_code,
            resubmitted,
        };
        let calls = u32::from(resubmitted);
        Self { coordinators, key, order, submission, announce, session: None, calls }
    }

    /// Waits for the result; when a coordinator is lost in the middle, another takes over.
    async fn wait(&mut self) -> Result<OrderResult, Problem> {
        let attempts = self.coordinators.count() + 1;
        let mut attempt = 1;
        loop {
            match self.wait_at_one().await {
                Err(WaitError::CoordinatorLost(status)) if attempt < attempts => {
                    tracing::warn!(order = %self.order.id, %status, "coordinator lost; another takes over");
                    attempt += 1;
                    tokio::time::sleep(TAKE_OVER_DELAY).await;
                }
                Err(WaitError::CoordinatorLost(status)) => return Err(problem(&status)),
                Err(WaitError::Problem(problem)) => return Err(problem),
                Ok(result) => return Ok(result),
            }
        }
    }

    /// Submits the order to one coordinator and reads its events until a result or a failure.
    async fn wait_at_one(&mut self) -> Result<OrderResult, WaitError> {
        let coordinators = self.coordinators;
        let account = self.order.spec.account;
        let mut events = coordinators.submit(account, || self.request()).await?;
        while let Some(event) = events.message().await? {
            match event.event {
                Some(Event::Started(started)) => self.on_started(&started),
                Some(Event::Report(bytes)) => {
                    if let Some(result) = self.on_report(&bytes) {
                        return Ok(result);
                    }
                }
                Some(Event::Ended(failure)) => return Err(WaitError::Problem(failed(failure))),
                None => {}
            }
        }
        Err(WaitError::Problem(deadline_passed()))
    }

    fn request(&mut self) -> SubmitRequest {
        let request = SubmitRequest { submission: encode(&self.submission.sign(&self.key)).into() };
        self.submission.resubmitted = true;
        self.calls += 1;
        request
    }

    fn on_started(&mut self, started: &Started) {
        self.session = started_session(started);
        if let (Some(session), Some(announce)) = (&self.session, self.announce.take()) {
            let _ = announce.send(session.id);
        }
    }

    /// The result, if this report proves it, alone or together with earlier ones.
    fn on_report(&mut self, bytes: &[u8]) -> Option<OrderResult> {
        let session = self.session.as_mut()?;
        let report = verify_report(&self.order, session.id, bytes)?;
        let (order, chain_code) = (&self.order, self.submission.chain_code.as_ref());
        let alone = proved(order, chain_code, &report.outcome);
        session.outcomes.insert(report.by, report.outcome);
        let together = || proved_together(order, chain_code, &session.signers, &session.outcomes);
        let proved = alone.or_else(together)?;
        let StartedSession { id, signers, presignatures_left, .. } = session;
        Some(OrderResult {
            proved,
            session: *id,
            signers: signers.clone(),
            digest: report.digest,
            presignatures_left: *presignatures_left,
        })
    }

    /// Adds to a problem what is known of the session.
    fn explain(&self, problem: Problem) -> Problem {
        match &self.session {
            // After more than one call the last coordinator's refusal proves nothing: an earlier one may have created
            // the session.
            None if self.calls > 1 && rejected_before_start(&problem) => Problem::new(
                Code::Unavailable,
                format!(
                    "{}; an earlier call for this request may have begun a session: repeat it with the same Idempotency-Key",
                    problem.detail
                ),
            ),
            session => Problem { session: session.as_ref().map(|session| session.id), ..problem },
        }
    }
}

/// Whether the coordinator refused the order before creating a session.
pub(crate) fn rejected_before_start(problem: &Problem) -> bool {
    let codes = [Code::PartiesUnavailable, Code::PluginUnavailable, Code::BlockedByBan, Code::Overloaded];
    problem.session.is_none() && codes.contains(&problem.code)
}

/// Decodes a report, if a party of the order signed it about this session.
pub(crate) fn verify_report(order: &Order, session: SessionId, bytes: &[u8]) -> Option<Report> {
    let signed: SignedReport = decode(bytes).ok()?;
    let about_this = signed.report.order == order.id && signed.report.session == session;
    let acceptable = signed.report.is_acceptable(order);
    (about_this && acceptable && signed.verify(&order.spec.parties).is_ok()).then_some(signed.report)
}

fn started_session(started: &Started) -> Option<StartedSession> {
    let id = session_id(&started.session).ok()?;
    let signers = party_indices(&started.signers).ok()?;
    Some(StartedSession {
        id,
        signers,
        presignatures_left: started.presignatures_left,
        outcomes: BTreeMap::new(),
    })
}

fn failed(failure: Failure) -> Problem {
    let code = Code::of(&failure.code).unwrap_or(Code::Internal);
    let culprits = known_parties(&failure.culprits);
    Problem { culprits, ..Problem::new(code, failure.reason) }
}

/// The well-formed indices among those that a coordinator names.
pub(crate) fn known_parties(numbers: &[u32]) -> Vec<PartyIndex> {
    numbers.iter().filter_map(|&number| party_index(number).ok()).collect()
}
