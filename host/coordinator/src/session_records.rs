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

/// How long after a session's deadline its parties may still report.
pub(super) const LATE_REPORTS_DURATION: Duration = Duration::from_millis(1_000);

/// How often the store is asked for a result whose report is on its way.
const LATE_RESULT_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The latest session of an order, or the one that has completed. A coordinator that cannot read it begins no other.
pub(super) async fn latest_session(
    state: &CoordinatorState,
    request: &SubmittedOrder,
) -> Result<Option<SessionRecord>, Verdict> {
    Ok(sessions_of(state, request).await?.into_iter().next())
}

/// The sessions of an order, the latest first.
///
/// # Errors
/// A verdict when the control database does not answer.
pub(super) async fn sessions_of(
    state: &CoordinatorState,
    request: &SubmittedOrder,
) -> Result<Vec<SessionRecord>, Verdict> {
    state.services.store.sessions_of(request.order.id).await.map_err(|error| {
        tracing::warn!(error = %chain(&error), "failed to read the sessions of an order");
        unknown("the control database does not answer")
    })
}

/// Forwards the reports of a recorded session to the caller until the session has ended.
pub(super) async fn forward_session(
    state: &CoordinatorState,
    request: &SubmittedOrder,
    record: &SessionRecord,
) -> Result<(), SessionFailure> {
    let session = &record.session;
    request.tell_started(session);
    let mut wait = state.reports.waiters.wait(session, &request.order);
    state.reports.load(session.id).await;
    // An ended session has nothing more to wait for.
    let until = match record.status {
        SessionStatus::Running => session.deadline + LATE_REPORTS_DURATION,
        SessionStatus::Completed { .. } | SessionStatus::Failed { .. } => UnixMillis(0),
    };
    Collector::new(state, request, session.id, &session.signers, until).collect(&mut wait).await
}

/// Forwards the result of an earlier session of a signing order to the caller, if there is one or one comes within the
/// `patience`; false if not. A report may come after its session was given up.
pub(super) async fn forward_late_result(
    state: &CoordinatorState,
    request: &SubmittedOrder,
    patience: Duration,
) -> bool {
    let until = state.services.now() + patience;
    while request.is_signing() {
        // Those that have completed come first.
        let Ok(Some(first)) = latest_session(state, request).await else { return false };
        if matches!(first.status, SessionStatus::Completed { .. }) {
            return forward_session(state, request, &first).await.is_ok();
        }
        if state.services.now() >= until {
            return false;
        }
        tokio::time::sleep(LATE_RESULT_POLL_INTERVAL).await;
    }
    false
}

/// The verdict when the state of an order can't be read.
pub(super) fn unknown(reason: &str) -> Verdict {
    Verdict::of(Code::Unavailable, reason)
}
