//! Sessions that are recorded already: the earlier sessions of an order, and what they lead to.

use std::time::Duration;

use quorate_control_store::{SessionRecord, SessionStatus};
use quorate_core::UnixMillis;
use quorate_core::code::Code;
use quorate_net::telemetry::chain;

use super::collect::{Collector, SessionFailure};
use super::state::CoordinatorState;
use super::submission::SubmittedOrder;
use super::verdict::Verdict;

/// How long a report may be on its way: after the deadline of its session, or after a party has refused a later one.
pub(super) const LATE_REPORTS_DURATION: Duration = Duration::from_millis(1_000);

/// How often the store is asked for a result whose report is on its way.
const RESULT_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The session that decides an order: one that has completed, or else the latest. A coordinator that can't read it
/// begins no other.
pub(super) async fn deciding_session(
    state: &CoordinatorState,
    request: &SubmittedOrder,
) -> Result<Option<SessionRecord>, Verdict> {
    Ok(sessions_of(state, request).await?.into_iter().next())
}

/// The sessions of an order: those that have completed first, then the latest first.
///
/// # Errors
/// A verdict when the coordinator's database does not answer.
pub(super) async fn sessions_of(
    state: &CoordinatorState,
    request: &SubmittedOrder,
) -> Result<Vec<SessionRecord>, Verdict> {
    state.services.store.sessions_of(request.order.id).await.map_err(|error| {
        tracing::warn!(error = %chain(&error), "failed to read the sessions of an order");
        store_unavailable()
    })
}

/// Forwards the reports of a recorded session to the caller until the session has ended.
pub(super) async fn forward_session(
    state: &CoordinatorState,
    request: &SubmittedOrder,
    record: &SessionRecord,
) -> Result<(), SessionFailure> {
    let session = &record.session;
    request.tell_started(session, None);
    let mut wait = state.reports.waiters.wait(session, &request.order);
    state.reports.load(session.id).await;
    // An ended session has nothing more to wait for.
    let until = match record.status {
        SessionStatus::Running => session.deadline + LATE_REPORTS_DURATION,
        SessionStatus::Completed { .. } | SessionStatus::Failed { .. } => UnixMillis(0),
    };
    Collector::new(state, request, session.id, &session.signers, until).collect(&mut wait).await.map(drop)
}

/// Whether an earlier session of an order has a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EarlierResult {
    /// It has, and the caller was told.
    Forwarded,
    None,
}

/// Forwards the result of an earlier session of a signing order to the caller, if there is one by now: a report may
/// arrive after its session was cancelled.
pub(super) async fn forward_result(state: &CoordinatorState, request: &SubmittedOrder) -> EarlierResult {
    match read_sessions(state, request).await {
        Some(sessions) => forward_completed(state, request, &sessions).await,
        None => EarlierResult::None,
    }
}

/// Waits for the result of an earlier session of a signing order, whose report may be on its way, or which another
/// coordinator still runs; then the same as [`forward_result`]. Ends before callers and followers stop to listen.
pub(super) async fn await_result(state: &CoordinatorState, request: &SubmittedOrder) -> EarlierResult {
    let latest = request.until + LATE_REPORTS_DURATION;
    let mut until = (state.services.now() + LATE_REPORTS_DURATION).min(latest);
    loop {
        if let Some(sessions) = read_sessions(state, request).await {
            // The session that was refused is the only one.
            if sessions.len() < 2 {
                return EarlierResult::None;
            }
            if forward_completed(state, request, &sessions).await == EarlierResult::Forwarded {
                return EarlierResult::Forwarded;
            }
            let running = sessions.iter().filter(|record| record.status == SessionStatus::Running);
            let ends = running.map(|record| record.session.deadline + LATE_REPORTS_DURATION).max();
            until = ends.map_or(until, |ends| until.max(ends)).min(latest);
        }
        if state.services.now() >= until {
            return EarlierResult::None;
        }
        tokio::time::sleep(RESULT_POLL_INTERVAL).await;
    }
}

/// The sessions of a signing order; `None` if the store does not answer soon.
async fn read_sessions(state: &CoordinatorState, request: &SubmittedOrder) -> Option<Vec<SessionRecord>> {
    if !request.is_repeatable() {
        return Some(vec![]);
    }
    tokio::time::timeout(LATE_REPORTS_DURATION, sessions_of(state, request)).await.ok()?.ok()
}

async fn forward_completed(
    state: &CoordinatorState,
    request: &SubmittedOrder,
    sessions: &[SessionRecord],
) -> EarlierResult {
    let completed = sessions.iter().find(|record| matches!(record.status, SessionStatus::Completed { .. }));
    match completed {
        Some(record) if forward_session(state, request, record).await.is_ok() => EarlierResult::Forwarded,
        _ => EarlierResult::None,
    }
}

/// The verdict when the coordinator's database does not answer.
pub(super) fn store_unavailable() -> Verdict {
    unknown("the coordinator's database does not answer")
}

/// The verdict when the state of an order can't be read.
pub(super) fn unknown(reason: &str) -> Verdict {
    Verdict::of(Code::Unavailable, reason)
}
