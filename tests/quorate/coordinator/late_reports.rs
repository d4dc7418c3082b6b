//! Reports that arrive after a coordinator has cancelled their session.

use std::time::Duration;

use quorate_core::abort::AbortCode;
use quorate_core::report::{Outcome, RefusedCode};
use quorate_net::clock::{Clock, SystemClock};

use super::scripted::{ScriptedParties, answer};

fn aborted() -> Outcome {
    Outcome::Aborted {
        code: AbortCode::PeerAborted,
        plugin_code: None,
        culprits: vec![],
        reason: "party 2 has left".into(),
        notice: None,
    }
}

fn exhausted() -> Outcome {
    Outcome::Refused {
        culprits: vec![],
        code: RefusedCode::OrderExhausted,
        reason: "it has succeeded".into(),
        notice: None,
    }
}

#[tokio::test]
async fn a_signature_that_is_reported_after_its_session_was_cancelled_is_answered() {
    // At once, and while the coordinator waits for a late report (LATE_REPORTS_DURATION, 1 s).
    for delay in [Duration::ZERO, Duration::from_millis(700)] {
        let mut scripted = ScriptedParties::start().await;
        let events = scripted.submit().await;
        let first = scripted.plan().await;
        // The second party has signed, and its report is still on its way.
        scripted.report(1, &first, aborted()).await;
        let second = scripted.plan().await;
        scripted.report(2, &second, exhausted()).await;
        tokio::time::sleep(delay).await;
        let signed = scripted.signed();
        scripted.report(2, &first, signed.clone()).await;
        let told = answer(events).await;
        assert_eq!((told.session, told.failure_code), (first.session_id(), None), "{delay:?}");
        assert_eq!(told.last_report.unwrap().report.outcome, signed, "{delay:?}");
    }
}

#[tokio::test]
async fn a_signature_ends_the_session_that_was_begun_because_its_report_was_late() {
    let mut scripted = ScriptedParties::start().await;
    let events = scripted.submit().await;
    let first = scripted.plan().await;
    scripted.report(1, &first, aborted()).await;
    // The parties of the second session say nothing.
    let second = scripted.plan().await;
    let signed = scripted.signed();
    scripted.report(2, &first, signed.clone()).await;
    let told = answer(events).await;
    assert_eq!((told.session, told.failure_code), (first.session_id(), None));
    assert_eq!(told.last_report.unwrap().report.outcome, signed);
    assert!(SystemClock.millis() < second.deadline, "the second session was waited for");
}

#[tokio::test]
async fn an_order_that_its_parties_run_no_more_is_answered_with_a_code_that_says_try_again() {
    let mut scripted = ScriptedParties::start().await;
    let events = scripted.submit().await;
    for _ in 0..3 {
        // The other party waits for the one that refuses, and says nothing.
        let plan = scripted.plan().await;
        scripted.report(2, &plan, exhausted()).await;
    }
    let told = answer(events).await;
    assert_eq!(told.failure_code.as_deref(), Some("unavailable"));
    assert!(told.last_report.is_some());
}
