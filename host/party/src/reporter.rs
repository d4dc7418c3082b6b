//! Tells coordinators what became of plans, until one has taken it.

use std::sync::Arc;
use std::time::Duration;

use quorate_backends::database::StoreError;
use quorate_core::codec::encode;
use quorate_core::report::{Outcome, SignedReport};
use quorate_net::grpc::MAX_GRPC_MESSAGE_BYTES;
use quorate_net::replicas::Replicas;
use quorate_net::telemetry::chain;
use quorate_proto::v1::ReportRequest;
use quorate_proto::v1::coordinator_client::CoordinatorClient;

use crate::party::Party;
use crate::recovery;

/// How often a report is tried, and how long to wait before the first repetition; each further wait is twice as long.
const REPORT_TRIES: u32 = 5;
const REPORT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// How long a coordinator may take to receive a report.
const REPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// Tells coordinators what became of plans.
pub(crate) struct Reporter {
    party: Arc<Party>,
    coordinators: Replicas,
}

impl Reporter {
    pub(crate) fn new(party: Arc<Party>, coordinators: Replicas) -> Self {
        Self { party, coordinators }
    }

    /// Reports until a coordinator has taken the report, a few times. What is not taken by then is reported again
    /// later.
    pub(crate) async fn report(&self, report: SignedReport) {
        let mut wait = REPORT_RETRY_DELAY;
        let session = report.report.session;
        for attempt in 1..=REPORT_TRIES {
            let Err(error) = self.report_once(&report).await else {
                return self.mark_reported(&report).await;
            };
            if error.code() == tonic::Code::InvalidArgument {
                tracing::error!(%session, error = %chain(&error), "report refused");
                return;
            }
            tracing::warn!(%session, attempt, of = REPORT_TRIES, error = %chain(&error), "report not accepted");
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    /// Reports everything that no coordinator has taken yet.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn flush_reports(&self) -> Result<(), StoreError> {
        for (plan, report) in recovery::unreported(&self.party).await? {
            match self.report_once(&report).await {
                Ok(()) => self.party.store.mark_reported(plan).await?,
                // The coordinator does not know the session: it never will.
                Err(error) if error.code() == tonic::Code::InvalidArgument => {
                    self.party.store.mark_reported(plan).await?;
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "report not accepted; it is sent again later")
                }
            }
        }
        Ok(())
    }

    async fn report_once(&self, report: &SignedReport) -> Result<(), tonic::Status> {
        let request = ReportRequest { report: encode(report).into() };
        let reporting = self.coordinators.call(REPORT_TIMEOUT, |channel| {
            let (client, request) = (CoordinatorClient::new(channel), request.clone());
            async { client.max_encoding_message_size(MAX_GRPC_MESSAGE_BYTES).report(request).await }
        });
        reporting.await.map(drop)
    }

    /// Notes that a report was taken. One that is not noted is sent again.
    async fn mark_reported(&self, report: &SignedReport) {
        let plan = match &report.report.outcome {
            Outcome::Activated { certificate, .. } => certificate.activation.plan,
            Outcome::Promised { ready, .. } => ready.activation.plan,
            outcome => match outcome.denial() {
                Some(notice) => notice.notice.plan,
                None => return,
            },
        };
        if let Err(error) = self.party.store.mark_reported(plan).await {
            tracing::warn!(error = %chain(&error), "failed to mark a report as accepted");
        }
    }
}
