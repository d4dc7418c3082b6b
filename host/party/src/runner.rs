//! Runs plans: takes each on or refuses it, acknowledges it to the queue, runs its session, and reports what became
//! of it.

use std::sync::Arc;
use std::time::Duration;

use quorate_backends::queue::Delivery;
use quorate_core::order::{Order, SignedOrder};
use quorate_core::plan::Plan;
use quorate_core::report::{Outcome, Report};
use quorate_core::{Digest, PartyIndex, PlanHash, SessionId, UnixMillis};
use quorate_net::telemetry::chain;
use quorate_party_store::{Refusal, RefusalOutcome};
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
        let refused = RefusedPlan::of(&plan);
        let taken = intake::admit_and_claim_for(&self.party, plan, token, custody).await;
        match (&taken, delivery) {
            // It comes again, a few times: the database should be back by then.
            (Err(PlanRefusal::NotKnown(_)), Some(_)) => tokio::time::sleep(QUEUE_RETRY_DELAY).await,
            // Another replica takes it on: this one is shutting down, and has not claimed it.
            (Err(PlanRefusal::Cancelled), Some(_)) if self.party.closing.is_cancelled() => {}
            (_, Some(delivery)) => acknowledge(delivery).await,
            (_, None) => {}
        }
        match taken {
            Ok(task) => {
                let started = task.started();
                let order = task.order().clone();
                let outcome = task.with_permit(permit).run().await;
                if let Some(outcome) = outcome.clone() {
                    let report = self.party.report_of(&started, outcome);
                    let report = self.party.with_bans(report, &order).await;
                    self.reporter.report(report.sign(&self.party.key())).await;
                }
                Ok(outcome)
            }
            Err(refusal) => {
                self.report_refusal(&refused, &refusal).await;
                Err(refusal)
            }
        }
    }

    async fn report_refusal(&self, plan: &RefusedPlan, refusal: &PlanRefusal) {
        let session = plan.session;
        tracing::info!(%session, reason = %refusal, "plan refused");
        let party = &self.party;
        // Only an order that is genuine says who this party is.
        let Ok(order) = plan.order.read(&party.originators) else { return };
        let (Some(mut outcome), Some(by)) = (refusal.outcome(), party.index_in(&order)) else { return };
        if order.operation.makes_shares()
            && let Some(code) = refusal.denial()
            && let Outcome::Refused { notice, .. } = &mut outcome
        {
            match party.store.refuse(&plan.refusal(&order, by, party.replica.clone())).await {
                Ok(RefusalOutcome::Recorded) => *notice = Some(party.sign_denial(plan.hash, by, code)),
                // What is said of it, the claim or the refusal before says.
                Ok(RefusalOutcome::KnownBefore) => return,
                Ok(RefusalOutcome::TooMany) => {}
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "a refusal was not stored: it is reported as one that may pass");
                }
            }
        }
        let report = Report::new(session, order.id, by, plan.digest, outcome);
        let report = party.with_bans(report, &order).await;
        self.reporter.report(report.sign(&party.key())).await;
    }
}

/// What is left of a plan when it is refused.
struct RefusedPlan {
    session: SessionId,
    hash: PlanHash,
    digest: Digest,
    order: SignedOrder,
    deadline: UnixMillis,
}

impl RefusedPlan {
    fn of(plan: &Plan) -> Self {
        Self {
            session: plan.session_id(),
            hash: plan.hash(),
            digest: plan.digest,
            order: plan.order.clone(),
            deadline: plan.deadline,
        }
    }

    fn refusal(&self, order: &Order, me: PartyIndex, replica: String) -> Refusal {
        Refusal {
            session: self.session,
            plan: self.hash,
            order: order.id,
            expires_at: order.expires_at,
            account: order.spec.account,
            me,
            digest: self.digest,
            replica,
            deadline: self.deadline,
        }
    }
}

/// Tells the queue that a message need not come again.
pub(crate) async fn acknowledge(delivery: Delivery) {
    if let Err(error) = delivery.ack().await {
        // It comes again, and is then found to be claimed.
        tracing::warn!(%error, "failed to acknowledge a plan");
    }
}
