//! Runs plans: takes each on or refuses it, acknowledges it to the queue, runs its session, and reports what became
//! of it.

use std::sync::Arc;
use std::time::Duration;

use quorate_backends::queue::Delivery;
use quorate_core::order::SignedOrder;
use quorate_core::plan::Plan;
use quorate_core::report::{Outcome, Report};
use quorate_core::{Digest, SessionId};
use tokio::sync::OwnedSemaphorePermit;

use crate::intake;
use crate::party::Party;
use crate::refusal::PlanRefusal;
use crate::reporter::Reporter;
use crate::user::custody::Custody;

/// How long to wait before the queue is tried again, or a message is left to come again.
pub(crate) const QUEUE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Runs plans and reports what became of them.
pub(crate) struct PlanRunner {
    party: Arc<Party>,
    reporter: Arc<Reporter>,
}

/// A plan as it came through the queue.
pub(crate) struct IncomingPlan {
    pub(crate) plan: Plan,
    /// Lets this party into the session at the routers.
    pub(crate) token: String,
}

impl PlanRunner {
    pub(crate) fn new(party: Arc<Party>, reporter: Arc<Reporter>) -> Self {
        Self { party, reporter }
    }

    /// Runs a plan and reports what became of it. It is acknowledged when its session is claimed or refused: from
    /// then on the queue has no part in it.
    ///
    /// # Errors
    /// When it was not taken on; that is reported too.
    pub(crate) async fn run(
        &self,
        incoming: IncomingPlan,
        custody: Custody,
        delivery: Option<Delivery>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Option<Outcome>, PlanRefusal> {
        let IncomingPlan { plan, token } = incoming;
        let (session, digest, order) = (plan.session_id(), plan.digest, plan.order.clone());
        let taken = intake::admit_and_claim_for(&self.party, plan, token, custody).await;
        match (&taken, delivery) {
            // It comes again, a few times: the database should be back by then.
            (Err(PlanRefusal::NotKnown(_)), Some(_)) => tokio::time::sleep(QUEUE_RETRY_DELAY).await,
            (_, Some(delivery)) => acknowledge(delivery).await,
            (_, None) => {}
        }
        match taken {
            Ok(task) => {
                let started = task.started();
                let outcome = task.with_permit(permit).run().await;
                if let Some(outcome) = outcome.clone() {
                    self.reporter.report(self.party.sign_report(&started, outcome)).await;
                }
                Ok(outcome)
            }
            Err(refusal) => {
                self.report_refusal(session, digest, &order, &refusal).await;
                Err(refusal)
            }
        }
    }

    async fn report_refusal(
        &self,
        session: SessionId,
        digest: Digest,
        order: &SignedOrder,
        refusal: &PlanRefusal,
    ) {
        tracing::info!(%session, reason = %refusal, "plan refused");
        // Only an order that is genuine says who this party is.
        let Ok(order) = order.read(&self.party.originators) else { return };
        let (Some(outcome), Some(by)) = (refusal.outcome(), self.party.index_in(&order)) else { return };
        let report = Report::new(session, order.id, by, digest, outcome);
        self.reporter.report(report.sign(&self.party.key())).await;
    }
}

/// Tells the queue that a message need not come again.
pub(crate) async fn acknowledge(delivery: Delivery) {
    if let Err(error) = delivery.ack().await {
        // It comes again, and is then found to be claimed.
        tracing::warn!(%error, "failed to acknowledge a plan");
    }
}
