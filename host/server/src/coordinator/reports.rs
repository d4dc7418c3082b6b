//! Reports on their way from parties to whoever waits for them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use quorate_broker::store::{SessionStatus, StoreError};
use quorate_core::SessionId;
use quorate_core::codec::{decode, encode};
use quorate_core::order::{Order, SignedOrder};
use quorate_core::report::{Outcome, SignedReport};
use tokio::sync::mpsc;

use super::Coordinator;
use crate::proof::{proved, proved_by_promises};

/// Reports of one session that wait to be looked at: one of each party, and a few repetitions.
const REPORTS: usize = 64;

/// The longest report: a certificate and the public outputs of 16 parties take 3 kB.
const REPORT_BYTES: usize = 16 << 10;

/// Who waits for the reports of which session.
#[derive(Default)]
pub(super) struct Waiting(Mutex<HashMap<SessionId, mpsc::Sender<SignedReport>>>);

/// A wait for the reports of one session. It ends when it is dropped.
pub(super) struct Wait<'a> {
    waiting: &'a Waiting,
    session: SessionId,
    pub(super) reports: mpsc::Receiver<SignedReport>,
}

impl Waiting {
    pub(super) fn wait(&self, session: SessionId) -> Wait<'_> {
        let (sender, reports) = mpsc::channel(REPORTS);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(session, sender);
        Wait { waiting: self, session, reports }
    }

    fn pass_on(&self, report: SignedReport) -> bool {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.get(&report.report.session).is_some_and(|sender| sender.try_send(report).is_ok())
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.session);
    }
}

/// Why a report is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    #[error("that is no report")]
    Malformed,
    #[error("the report contains more than a party has to say")]
    TooMuch,
    #[error("there is no such session")]
    Unknown,
    #[error("the report is not signed by the party that it names, or is about another order")]
    NotSigned,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Coordinator {
    /// Keeps a report, and passes it on to whoever waits for it.
    pub(super) async fn take_report(&self, bytes: &[u8]) -> Result<(), NotTaken> {
        if bytes.len() > REPORT_BYTES {
            return Err(NotTaken::TooMuch);
        }
        let signed: SignedReport = decode(bytes).map_err(|_| NotTaken::Malformed)?;
        let report = &signed.report;
        let store = &self.setup.store;
        let record = store.session(report.session).await?.ok_or(NotTaken::Unknown)?;
        let order: SignedOrder = decode(&record.session.ordered).map_err(|_| NotTaken::Unknown)?;
        let order: Order = decode(order.bytes()).map_err(|_| NotTaken::Unknown)?;
        let about_this = report.order == order.id && record.session.signers.contains(&report.by);
        if !about_this || signed.verify(&order.parties).is_err() {
            return Err(NotTaken::NotSigned);
        }
        if !report.outcome.is_tame(order.threshold.parties()) {
            return Err(NotTaken::TooMuch);
        }
        let mut success = proved(&order, record.session.chain_code.as_ref(), &report.outcome).is_some();
        // What proves more stays: a party may not take back what it has proved or promised.
        let weight = |outcome: &Outcome| match outcome {
            outcome if proved(&order, record.session.chain_code.as_ref(), outcome).is_some() => 2,
            Outcome::Promised { .. } => 1,
            _ => 0,
        };
        let kept = record.reports.iter().filter_map(|bytes| decode::<SignedReport>(bytes).ok());
        let mut kept = kept.filter(|kept| kept.report.by == report.by);
        if kept.any(|kept| weight(&kept.report.outcome) > weight(&report.outcome)) {
            return Ok(());
        }
        store.add_report(report.session, report.by, &encode(&signed)).await?;
        if matches!(report.outcome, Outcome::Promised { .. }) {
            let outcomes = self.outcomes(report.session).await?;
            success |= proved_by_promises(&order, &outcomes).is_some();
        }
        if success {
            let at = self.setup.clock.millis();
            store.end_session(report.session, &SessionStatus::Completed { at }).await?;
        }
        self.waiting.pass_on(signed);
        Ok(())
    }

    async fn outcomes(&self, session: SessionId) -> Result<Vec<Outcome>, StoreError> {
        let record = self.setup.store.session(session).await?;
        let reports = record.map(|record| record.reports).unwrap_or_default();
        let reports = reports.iter().filter_map(|bytes| decode::<SignedReport>(bytes).ok());
        Ok(reports.map(|signed| signed.report.outcome).collect())
    }
}
