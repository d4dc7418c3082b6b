//! Reports on their way from parties to the calls that wait for them, here or at another coordinator.

use std::sync::Arc;

use quorate_backends::database::StoreError;
use quorate_core::SessionId;
use quorate_core::codec::decode;
use quorate_core::order::{Order, SignedOrder};
use quorate_core::report::{Outcome, SignedReport};
use quorate_net::telemetry::chain;
use quorate_net::topics::REPORTS;

use super::bans::Bans;
use super::erasures::Erasures;
use super::services::Services;
use super::verdict::verdict;
use super::waiters::{Ingested, RankedReport, Waiters, WatchedSession};

/// The longest report: a certificate and the public outputs of 16 parties take 3 kB, all bans that there can be 36 kB.
const MAX_REPORT_BYTES: usize = 48 << 10;

/// Takes reports in, keeps them, and passes them on.
pub(super) struct Reports {
    services: Services,
    erasures: Arc<Erasures>,
    bans: Arc<Bans>,
    pub(super) waiters: Waiters,
}

/// Where a report comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Its party.
    Party,
    /// Another coordinator, which has kept it.
    Coordinator,
}

/// Where a report is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiter {
    /// At this coordinator.
    Local,
    /// At another coordinator, or nowhere.
    Remote,
}

/// Why a report is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReportError {
    #[error("this is not a report")]
    Malformed,
    #[error("the report contains more than a party has to say")]
    TooMuch,
    #[error("there is no such session")]
    Unknown,
    #[error("the report is not signed by the party that it names, or is about another order")]
    NotSigned,
    #[error("the task that stores the report has panicked")]
    TaskPanicked,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Reports {
    pub(super) fn new(services: Services, erasures: Arc<Erasures>, bans: Arc<Bans>) -> Self {
        Self { services, erasures, bans, waiters: Waiters::default() }
    }

    /// Keeps a report that a party gives, and passes it on to the calls that wait for it, here or at another
    /// coordinator.
    pub(super) async fn ingest(self: &Arc<Self>, bytes: &[u8]) -> Result<(), ReportError> {
        // A task of its own: if the caller's connection drops half-way, the report must not stay in memory without
        // being in the store, or its retransmission would be ignored as a duplicate.
        let (reports, report) = (Arc::clone(self), bytes.to_vec());
        let ingested = tokio::spawn(async move { reports.ingest_once(&report, Source::Party).await });
        if ingested.await.map_err(|_| ReportError::TaskPanicked)?? == Waiter::Remote {
            // If the announcement is lost, the coordinator that waits for it finds the report in the store.
            self.services.announce(REPORTS, bytes.to_vec());
        }
        Ok(())
    }

    /// Takes in a report that another coordinator has kept, if it is waited for here.
    pub(super) async fn on_announced(&self, bytes: &[u8]) {
        let Ok(signed) = decode::<SignedReport>(bytes) else { return };
        if self.waiters.find(signed.report.session).is_some()
            && let Err(error) = self.ingest_once(bytes, Source::Coordinator).await
        {
            tracing::debug!(error = %chain(&error), "report of another coordinator not accepted");
        }
    }

    /// Takes in the reports of a session that other coordinators have kept.
    pub(super) async fn load(&self, session: SessionId) {
        match self.services.store.session(session).await {
            Ok(Some(record)) => {
                for report in &record.reports {
                    self.on_announced(report).await;
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(error = %chain(&error), "failed to read the reports of a session"),
        }
    }

    async fn ingest_once(&self, bytes: &[u8], source: Source) -> Result<Waiter, ReportError> {
        if bytes.len() > MAX_REPORT_BYTES {
            return Err(ReportError::TooMuch);
        }
        let signed: SignedReport = decode(bytes).map_err(|_| ReportError::Malformed)?;
        let report = &signed.report;
        let waiting = self.waiters.find(report.session);
        let session = match &waiting {
            Some(expected) => Arc::clone(&expected.session),
            None => Arc::new(self.load_session(report.session).await?),
        };
        let order = &session.order;
        let about_this = report.order == order.id && session.signers.contains(&report.by);
        if !about_this || signed.verify(&order.spec.parties).is_err() {
            return Err(ReportError::NotSigned);
        }
        if !report.is_acceptable(order) {
            return Err(ReportError::TooMuch);
        }
        let (id, by) = (report.session, report.by);
        self.bans.take(order, report).await?;
        let ranked = RankedReport { evidence: session.evidence_of(&report.outcome), signed };
        if source == Source::Party && ranked.is_proof() {
            self.erasures.take(order, &ranked.signed.report).await?;
        }
        let Ingested { store, completes, changed } = session.ingest(&ranked);
        // Another coordinator has stored its report already. That the report completes the session may show only here.
        if store && (source == Source::Party || completes) {
            let completed = completes.then(|| self.services.now());
            if let Err(error) = self.services.store.add_report(id, by, bytes, ranked.rank(), completed).await
            {
                // It comes again, and must then be new.
                session.forget(by);
                return Err(error.into());
            }
        }
        match waiting {
            Some(expected) => {
                for sender in expected.senders.iter().filter(|_| changed) {
                    let _ = sender.try_send(ranked.clone());
                }
                Ok(Waiter::Local)
            }
            None => {
                self.end_if_over(id, &session).await?;
                Ok(Waiter::Remote)
            }
        }
    }

    /// Ends a session that no call here waits for, when all its parties have reported and none has a result.
    async fn end_if_over(&self, id: SessionId, session: &WatchedSession) -> Result<(), StoreError> {
        let outcomes = session.outcomes();
        let is_part =
            |outcome: &Outcome| matches!(outcome, Outcome::Promised { .. } | Outcome::Prepared { .. });
        let all_parts = outcomes.values().all(is_part);
        if all_parts || outcomes.len() < session.signers.len() {
            return Ok(());
        }
        // One that has completed stays so.
        let failed = verdict(&session.signers, &outcomes).into_status(self.services.now());
        self.services.store.end_session(id, &failed).await
    }

    /// Reads a session that no call here waits for from the store.
    async fn load_session(&self, id: SessionId) -> Result<WatchedSession, ReportError> {
        let record = self.services.store.session(id).await?.ok_or(ReportError::Unknown)?;
        let order: SignedOrder = decode(&record.session.ordered).map_err(|_| ReportError::Unknown)?;
        let order: Order = decode(order.bytes()).map_err(|_| ReportError::Unknown)?;
        let session = WatchedSession::new(order, record.session.signers, record.session.chain_code);
        for signed in record.reports.iter().filter_map(|bytes| decode::<SignedReport>(bytes).ok()) {
            session.ingest(&RankedReport { evidence: session.evidence_of(&signed.report.outcome), signed });
        }
        Ok(session)
    }
}
