//! Recovery: what a party reports of sessions that a process did not see to their end.

use quorate_backends::database::StoreError;
use quorate_core::PlanHash;
use quorate_core::abort::{Abort, AbortCode};
use quorate_core::report::{Outcome, SignedReport};
use quorate_net::telemetry::chain;
use quorate_party_store::{SessionResult, Started, Unreported};

use crate::party::Party;

/// After a restart: ends the sessions that were running, for which nothing was promised. Gives the reports that are
/// due for them and for promises that still wait for their certificate.
///
/// # Errors
/// When the store fails.
pub async fn recover(party: &Party) -> Result<Vec<SignedReport>, StoreError> {
    let mut reports = end_abandoned(party, Some(&party.replica)).await?;
    // Nobody has the keys of what an earlier process of this replica has prepared.
    party.store.clear_pools(&party.replica, party.clock.millis()).await?;
    let reported: Vec<_> = reports.iter().map(|report| report.report.session).collect();
    let due = unreported(party).await?.into_iter().map(|(_, report)| report);
    reports.extend(due.filter(|report| !reported.contains(&report.report.session)));
    Ok(reports)
}

/// Ends the sessions that a process of this name has left behind, or those of any replica whose time is over.
pub(crate) async fn end_abandoned(
    party: &Party,
    replica: Option<&str>,
) -> Result<Vec<SignedReport>, StoreError> {
    let mut reports = Vec::new();
    // Of a session that an earlier state has as running it is not known what was promised since.
    if party.is_set_back() {
        return Ok(reports);
    }
    for started in party.store.abandoned(replica, party.clock.millis()).await? {
        // Nobody knows what its counterparties have learned from it.
        match party.store.abort_unknown(started.plan).await {
            Ok(()) => {}
            // A replica runs it after all.
            Err(StoreError::Conflict(_)) => continue,
            // An operator has to look at this account. It holds up no other.
            Err(error @ StoreError::Altered(_)) => {
                tracing::error!(session = %started.session, error = %chain(&error), "session not ended");
                continue;
            }
            Err(error) => return Err(error),
        }
        let reason = "the party was restarted in the middle of the session";
        let abort = Abort::of(AbortCode::Unavailable, reason);
        reports.push(party.sign_report(&started, party.aborted_outcome(started.plan, started.me, abort)));
    }
    Ok(reports)
}

/// Reports of keygens and refreshes that no coordinator has taken yet.
pub(crate) async fn unreported(party: &Party) -> Result<Vec<(PlanHash, SignedReport)>, StoreError> {
    let unreported = party.store.unreported().await?;
    let report = |Unreported { started, result }: Unreported| {
        let outcome = match result {
            SessionResult::Share(certificate, key) => Outcome::Activated { certificate, key },
            SessionResult::Promise(ready, key) => Outcome::Promised { ready, key },
            SessionResult::Nothing => {
                let abort = Abort::of(AbortCode::Unavailable, "the session ended here without a share");
                party.aborted_outcome(started.plan, started.me, abort)
            }
        };
        (started.plan, party.sign_report(&started, outcome))
    };
    Ok(unreported.into_iter().map(report).collect())
}

/// Ends a session in the middle of which the store has failed. If it fails again, a restart ends it.
pub(crate) async fn record_store_failure(party: &Party, started: &Started, error: &StoreError) -> Outcome {
    tracing::error!(error = %chain(error), "the party's store failed");
    let not_stored = |code, reason: String| Outcome::Aborted {
        code,
        plugin_code: None,
        culprits: vec![],
        reason,
        notice: None,
    };
    if party.bans.not_stored().keys().any(|decided_in| decided_in.plan == started.plan) {
        // Nobody hears of a ban before it is stored. The session ends in the store together with it: if the process dies before,
        // it has an unknown outcome.
        return not_stored(AbortCode::Unavailable, "this party's database fails".into());
    }
    let code = match error {
        StoreError::Unavailable(_) => AbortCode::Unavailable,
        _ => AbortCode::Internal,
    };
    let abort = Abort::of(code, error.to_string());
    match party.store.abort(started.plan).await {
        Ok(()) => party.aborted_outcome(started.plan, started.me, abort),
        // It may have promised: it does not say that it has not.
        Err(_) => {
            party.remember_end(started.plan);
            not_stored(abort.code, abort.reason)
        }
    }
}
