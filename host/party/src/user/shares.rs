//! Shares that users keep: generated, delivered, and confirmed.

use std::sync::Arc;
use std::time::Duration;

use quorate_backends::database::StoreError;
use quorate_backends::queue::Delivery;
use quorate_core::code::Code;
use quorate_core::codec::{decode, encode};
use quorate_core::order::{Operation, Order};
use quorate_core::plan::Plan;
use quorate_core::report::Outcome;
use quorate_core::sealing_key::SignedSealingKey;
use quorate_core::share_claim::ShareClaim;
use quorate_core::user_share::UserShare;
use quorate_core::{OrderId, SessionId, UnixMillis};
use quorate_net::problem::Problem;
use quorate_net::telemetry::chain;
use quorate_party_store::{Confirmation, DeliveryState, ShareDelivery, ShareLookup, WaitingPlan};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::custody::Custody;
use super::inbox::{REQUEST_POLL_INTERVAL, UserInbox};
use crate::party::Party;
use crate::refusal::PlanRefusal;
use crate::reporter::Reporter;
use crate::runner::{IncomingPlan, PlanRunner, QUEUE_RETRY_DELAY, acknowledge};

/// How often deliveries are looked for that were not confirmed in time.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long a plan may still be on its way when its session is asked for.
const PLAN_ARRIVAL_TIMEOUT: Duration = Duration::from_secs(2);

/// The shares of one party that users keep.
pub struct UserShares {
    pub(crate) party: Arc<Party>,
    pub(super) runner: Arc<PlanRunner>,
    reporter: Arc<Reporter>,
    pub(super) inbox: UserInbox,
}

/// A share as it goes to its user.
pub(crate) enum DeliveredShare {
    Sealed(ShareDelivery, [u8; 32], Vec<u8>),
    /// It is never given out again.
    Unsealed(ShareDelivery, UserShare),
}

impl UserShares {
    pub(crate) fn new(
        party: Arc<Party>,
        runner: Arc<PlanRunner>,
        reporter: Arc<Reporter>,
        inbox: UserInbox,
    ) -> Self {
        Self { party, runner, reporter, inbox }
    }

    /// Puts a plan where it waits for its user; one whose order names the recipient of the new share runs at once.
    pub(crate) async fn enqueue(
        &self,
        incoming: IncomingPlan,
        delivered: Delivery,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let IncomingPlan { plan, token } = incoming;
        let order = plan.order.open(&self.party.originators, self.party.clock.seconds());
        // A plan that would wait for longer than its order is valid is dropped.
        let Some(order) = order.ok().filter(|order| plan.deadline.seconds() <= order.expires_at) else {
            tracing::warn!("plan refused: its order is not acceptable, or ends before it");
            return acknowledge(delivered).await;
        };
        if order.operation.makes_shares()
            && let Err(problem) = self.check_claim_hash(&order).await
        {
            tracing::warn!(order = %order.id, reason = problem.detail, "plan refused");
            return acknowledge(delivered).await;
        }
        if order.operation == Operation::Keygen && order.recipient.is_some() {
            let custody = Custody::User(self.inbox.context(None, order.recipient));
            return drop(
                self.runner.run(IncomingPlan { plan, token }, custody, Some(delivered), permit).await,
            );
        }
        let (session, deadline) = (plan.session_id(), plan.deadline);
        let waiting = WaitingPlan { session, order: order.id, plan: encode(&plan), token, deadline };
        match self.party.store.keep_plan(&waiting).await {
            Ok(()) => {
                acknowledge(delivered).await;
                self.inbox.notify();
            }
            // It comes again, a few times: the database should be back by then.
            Err(error) => {
                tracing::warn!(error = %chain(&error), "failed to store a plan for its user");
                tokio::time::sleep(QUEUE_RETRY_DELAY).await;
            }
        }
    }

    /// Ends deliveries that were not confirmed in time, until it is dropped.
    pub(crate) async fn expire_unconfirmed(self: Arc<Self>) {
        let mut tick = interval(EXPIRY_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let expired = async {
                // Before all else: nothing may keep a key longer than it serves.
                self.party.store.delete_sealing_keys(self.party.clock.seconds()).await?;
                if self.party.store.expire_deliveries(self.party.clock.millis()).await? > 0 {
                    self.reporter.flush_reports().await?;
                }
                Ok::<_, StoreError>(())
            };
            if let Err(error) = expired.await {
                tracing::warn!(error = %chain(&error), "failed to expire unconfirmed shares");
            }
        }
    }

    /// The key that users seal their shares to now, signed by this party. Each is given out for `period`.
    pub(crate) async fn sealing_key(&self, period: Duration) -> Result<SignedSealingKey, Problem> {
        let now = self.party.clock.seconds();
        Ok(self.party.store.current_sealing_key(now, period).await?.sign(&self.party.key()))
    }

    /// Generates the share of a keygen that waits for its user, and delivers it.
    ///
    /// # Errors
    /// [`Code::SessionNotFound`] when no keygen waits, [`Code::WrongClaim`] or [`Code::ClaimUsed`], [`Code::Refused`]
    /// when it has failed, and what [`delivered`] says.
    pub(crate) async fn generate_share(
        &self,
        session: SessionId,
        claim: &ShareClaim,
        recipient: Option<[u8; 32]>,
    ) -> Result<DeliveredShare, Problem> {
        if let Some(delivery) = self.party.store.delivery(ShareLookup::Session(session)).await? {
            self.check_claim(claim, &delivery.claim_hash, delivery.started.order).await?;
            return delivered(delivery, recipient);
        }
        let (waiting, is_claimed) = self.kept_plan(session).await?;
        let plan = decode::<Plan>(&waiting.plan).map_err(|_| not_waiting())?;
        let order: Order = plan.order.read(&self.party.originators).map_err(|_| not_waiting())?;
        if order.operation != Operation::Keygen {
            let detail = "this session is not a keygen: sign and refresh bring a share";
            return Err(Problem::new(Code::SessionNotFound, detail));
        }
        self.check_claim(claim, &order.claim_hash.ok_or_else(not_waiting)?, order.id).await?;
        if is_claimed {
            let delivery = self.await_running_elsewhere(session).await?.ok_or_else(not_waiting)?;
            return delivered(delivery, recipient);
        }
        let permit = self.inbox.permit()?;
        let (sender, unsealed) = oneshot::channel();
        let user = self.inbox.context(None, recipient);
        if recipient.is_none() {
            *user.unsealed.lock() = Some(sender);
        }
        let deadline = plan.deadline;
        let runner = Arc::clone(&self.runner);
        // It goes on when the caller hangs up: what it makes can be asked for again.
        let running = tokio::spawn(async move {
            let incoming = IncomingPlan { plan, token: waiting.token };
            runner.run(incoming, Custody::User(user), None, Some(permit)).await
        });
        let delivery = self.await_delivery(session, running, deadline).await?;
        if recipient.is_none()
            && let Ok(Ok(share)) = tokio::time::timeout(PLAN_ARRIVAL_TIMEOUT, unsealed).await
        {
            return Ok(DeliveredShare::Unsealed(delivery, share));
        }
        delivered(delivery, recipient)
    }

    /// Checks that a claim is the one to the share of this order, and has served for no other.
    async fn check_claim(
        &self,
        claim: &ShareClaim,
        claim_hash: &[u8; 32],
        order: OrderId,
    ) -> Result<(), Problem> {
        if !claim.is_of(claim_hash) {
            let detail = "claim: this is not the claim whose hash came with the request for this share";
            return Err(Problem::new(Code::WrongClaim, detail));
        }
        self.check_unused(*claim_hash, order).await
    }

    /// Checks that an order for a new share of a user names a claim, which has served for no other.
    pub(super) async fn check_claim_hash(&self, order: &Order) -> Result<(), Problem> {
        let missing =
            || Problem::new(Code::ClaimRequired, "claim_hash: nobody has a claim to the user's new share");
        self.check_unused(order.claim_hash.ok_or_else(missing)?, order.id).await
    }

    async fn check_unused(&self, claim_hash: [u8; 32], order: OrderId) -> Result<(), Problem> {
        match self.party.store.claimed_by(claim_hash).await? {
            Some(other) if other != order => {
                let detail = "claim: it has served for another share: ask for a new share with a new claim";
                Err(Problem::new(Code::ClaimUsed, detail))
            }
            _ => Ok(()),
        }
    }

    /// Waits until a keygen that runs here, or that another request has claimed meanwhile, has delivered its share.
    async fn await_delivery(
        &self,
        session: SessionId,
        mut running: JoinHandle<Result<Option<Outcome>, PlanRefusal>>,
        deadline: UnixMillis,
    ) -> Result<ShareDelivery, Problem> {
        const KEYGEN_FAILED: &str = "the key generation has failed: create another account";
        let mut over = false;
        loop {
            if let Some(delivery) = self.party.store.delivery(ShareLookup::Session(session)).await? {
                return Ok(delivery);
            }
            if over || self.party.clock.millis() > deadline {
                return Err(failed(session, KEYGEN_FAILED));
            }
            tokio::select! {
                ended = &mut running => match ended {
                    Ok(Ok(_)) => over = true,
                    Ok(Err(PlanRefusal::ClaimedBefore)) => {
                        let delivery = self.await_running_elsewhere(session).await?;
                        return delivery.ok_or_else(|| failed(session, KEYGEN_FAILED));
                    }
                    Ok(Err(refused)) => return Err(failed(session, &refused.to_string())),
                    Err(_) => return Err(failed(session, "the session's task has panicked")),
                },
                () = tokio::time::sleep(REQUEST_POLL_INTERVAL / 4) => {}
            }
        }
    }

    /// Waits for the share of a session that another request runs, here or at another replica, for as long as it runs.
    async fn await_running_elsewhere(&self, session: SessionId) -> Result<Option<ShareDelivery>, Problem> {
        let _permit = self.inbox.follow()?;
        loop {
            // `is_running` is read first: an ended session has delivered already or never will.
            let running = self.party.store.is_running(session, self.party.clock.millis()).await?;
            let delivery = self.party.store.delivery(ShareLookup::Session(session)).await?;
            if delivery.is_some() || !running {
                return Ok(delivery);
            }
            tokio::time::sleep(REQUEST_POLL_INTERVAL / 4).await;
        }
    }

    /// The plan of a session, which may still be on its way, and whether the session was claimed.
    async fn kept_plan(&self, session: SessionId) -> Result<(WaitingPlan, bool), Problem> {
        let _permit = self.inbox.follow()?;
        let until = Instant::now() + PLAN_ARRIVAL_TIMEOUT;
        loop {
            if let Some(kept) = self.party.store.kept_plan(session).await? {
                return Ok(kept);
            }
            if Instant::now() >= until {
                return Err(not_waiting());
            }
            self.inbox.wait().await;
        }
    }

    /// Waits for a share that is sealed to a recipient whom the order names.
    ///
    /// # Errors
    /// [`Code::SessionNotFound`] when it does not come in time, and what [`delivered`] says.
    pub(crate) async fn await_share(
        &self,
        which: ShareLookup,
        patience: Duration,
    ) -> Result<DeliveredShare, Problem> {
        let until = Instant::now() + patience;
        loop {
            if let Some(delivery) = self.party.store.delivery(which).await? {
                let recipient = delivery.recipient;
                return delivered(delivery, recipient);
            }
            if Instant::now() >= until {
                return Err(not_waiting());
            }
            self.inbox.wait().await;
        }
    }

    /// Confirms that the user has the share: it becomes active.
    ///
    /// # Errors
    /// [`Code::WrongClaim`], [`Code::ClaimUsed`], [`Code::ShareExpired`], [`Code::ShareAlreadyConfirmed`], or
    /// [`Code::SessionNotFound`].
    pub(crate) async fn confirm(
        &self,
        session: SessionId,
        claim: &ShareClaim,
        by: Option<[u8; 32]>,
    ) -> Result<ShareDelivery, Problem> {
        let store = &self.party.store;
        let made = store.delivery(ShareLookup::Session(session)).await?.ok_or_else(not_waiting)?;
        self.check_claim(claim, &made.claim_hash, made.started.order).await?;
        let confirmed = store.confirm(session, by, self.party.clock.millis()).await?;
        match confirmed {
            // The process that recorded an earlier confirmation may have died before the next step.
            Confirmation::Confirmed | Confirmation::AlreadyConfirmed => {}
            Confirmation::Expired => return Err(expired()),
            Confirmation::Unknown => return Err(not_waiting()),
        }
        let delivery = store.delivery(ShareLookup::Session(session)).await?.ok_or_else(not_waiting)?;
        match store.activate(&delivery.certificate).await {
            // With a later epoch active, this one was too.
            Ok(()) | Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if confirmed == Confirmation::AlreadyConfirmed {
            let detail = "this share was confirmed before: nothing is left to do";
            return Err(Problem::new(Code::ShareAlreadyConfirmed, detail));
        }
        // If no coordinator takes the report now, it is sent later.
        if let Err(error) = self.reporter.flush_reports().await {
            tracing::warn!(error = %chain(&error), "a confirmed share is reported later");
        }
        Ok(delivery)
    }
}

/// The share of a delivery, if it may still be given to this recipient.
fn delivered(delivery: ShareDelivery, recipient: Option<[u8; 32]>) -> Result<DeliveredShare, Problem> {
    match (delivery.state, delivery.recipient, &delivery.sealed) {
        (DeliveryState::Expired, ..) => Err(expired()),
        (DeliveryState::Confirmed, ..) | (_, None, _) => Err(Problem::new(
            Code::ShareAlreadyDelivered,
            "this share was delivered before, and is not stored any more",
        )),
        (_, Some(to), _) if Some(to) != recipient => {
            Err(Problem::new(Code::RecipientDiffers, "recipient_key: this share was sealed to another key"))
        }
        (_, Some(to), Some(sealed)) => {
            let sealed = sealed.clone();
            Ok(DeliveredShare::Sealed(delivery, to, sealed))
        }
        (_, Some(_), None) => Err(expired()),
    }
}

fn not_waiting() -> Problem {
    Problem::new(Code::SessionNotFound, "no session with this id waits for a user any more")
}

fn expired() -> Problem {
    let detail =
        "this share was not confirmed in time: nothing came of it, ask for another account or refresh";
    Problem::new(Code::ShareExpired, detail)
}

fn failed(session: SessionId, detail: &str) -> Problem {
    Problem { session: Some(session), ..Problem::new(Code::Refused, detail) }
}
