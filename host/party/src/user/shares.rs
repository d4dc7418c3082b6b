//! The desk of the user's party: plans wait here until a user comes with a share, or for one.

use std::sync::Arc;
use std::time::Duration;

use quorate_backends::database::StoreError;
use quorate_backends::queue::Delivery as Delivered;
use quorate_core::SessionId;
use quorate_core::code::Code;
use quorate_core::codec::{decode, encode};
use quorate_core::order::{Operation, Order};
use quorate_core::plan::Plan;
use quorate_core::user_share::UserShare;
use quorate_net::problem::Problem;
use quorate_party_store::{Confirmation, Delivery, DeliveryState, ShareLookup, WaitingPlan};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::custody::{Custody, UserPart};
use crate::NotRun;
use crate::worker::{PartyService, QUEUE_AGAIN, acknowledge};

/// How often plans and deliveries are looked for that another replica may have taken.
const LOOK: Duration = Duration::from_millis(100);

/// How often it is looked for what nobody has confirmed in time.
const CLEAR: Duration = Duration::from_secs(1);

/// How long a plan may still be on its way when its session is asked for.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// Requests of users at a time.
const REQUESTS: usize = 128;

/// Where plans wait for users.
pub struct Desk {
    confirm_within: Duration,
    arrived: Notify,
    /// Room for users' requests.
    requests: Arc<Semaphore>,
}

/// What is handed to a user.
pub(crate) enum HandedOver {
    Sealed(Delivery, [u8; 32], Vec<u8>),
    /// It is never given out again.
    Unsealed(Delivery, UserShare),
}

impl Desk {
    /// A desk at which a new share is to be confirmed within this time.
    #[must_use]
    pub fn new(confirm_within: Duration) -> Self {
        let requests = Arc::new(Semaphore::new(REQUESTS));
        Self { confirm_within, arrived: Notify::new(), requests }
    }

    pub(crate) fn part(&self, share: Option<UserShare>, recipient: Option<[u8; 32]>) -> UserPart {
        UserPart { share, recipient, confirm_within: self.confirm_within, unsealed: Default::default() }
    }

    pub(crate) fn room(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let overloaded = |_| {
            Problem::new(Code::Overloaded, "too many users' requests are being worked on: try again later")
        };
        Arc::clone(&self.requests).try_acquire_owned().map_err(overloaded)
    }

    /// Waits for a plan to come, here or at another replica.
    pub(crate) async fn look(&self) {
        let _ = tokio::time::timeout(LOOK, self.arrived.notified()).await;
    }
}

impl PartyService {
    /// A plan has come: it waits for its user, unless it says by itself to whom the new share goes.
    pub(crate) async fn put_down(
        self: &Arc<Self>,
        desk: &Desk,
        (plan, token): (Plan, String),
        (delivered, slot): (Delivered, Option<OwnedSemaphorePermit>),
    ) {
        let order = plan.order.open(self.party.originators(), self.party.clock.seconds());
        // What would wait for longer than its order is good for is not kept.
        let Some(order) = order.ok().filter(|order| plan.deadline / 1_000 <= order.expires_at) else {
            tracing::warn!("a plan that this party does not take");
            return acknowledge(delivered).await;
        };
        if order.operation == Operation::Keygen && order.recipient.is_some() {
            let custody = Custody::User(desk.part(None, order.recipient));
            let _ = self.run_plan((plan, token), custody, Some(delivered), slot).await;
            return;
        }
        let (session, deadline) = (plan.session_id(), plan.deadline);
        let waiting = WaitingPlan { session, order: order.id, plan: encode(&plan), token, deadline };
        match self.party.store.keep_plan(&waiting).await {
            Ok(()) => {
                acknowledge(delivered).await;
                desk.arrived.notify_waiters();
            }
            // It comes again, a few times: the database should be back by then.
            Err(error) => {
                tracing::warn!(%error, "a plan could not be kept for its user");
                tokio::time::sleep(QUEUE_AGAIN).await;
            }
        }
    }

    /// Ends what nobody has confirmed in time, for as long as this runs.
    pub(crate) async fn clear_the_desk(self: Arc<Self>) {
        if self.desk.is_none() {
            return;
        }
        let mut tick = interval(CLEAR);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let cleared = async {
                if self.party.store.expire_deliveries(self.party.clock.millis()).await? > 0 {
                    self.report_what_is_due().await?;
                }
                Ok::<_, StoreError>(())
            };
            if let Err(error) = cleared.await {
                tracing::warn!(%error, "what nobody has confirmed could not be looked for");
            }
        }
    }

    pub(crate) fn desk(&self) -> Result<&Desk, Problem> {
        let none = || Problem::new(Code::Internal, "this party keeps its own shares");
        self.desk.as_ref().ok_or_else(none)
    }

    /// Makes the share of a keygen that waits for its user, and hands it over.
    ///
    /// # Errors
    /// A problem for the caller.
    pub(crate) async fn make_share(
        self: &Arc<Self>,
        session: SessionId,
        recipient: Option<[u8; 32]>,
    ) -> Result<HandedOver, Problem> {
        if let Some(delivery) = self.party.store.delivery(ShareLookup::Session(session)).await? {
            return handed_over(delivery, recipient);
        }
        let room = self.desk()?.room()?;
        let (waiting, plan) = self.waiting(session).await?;
        let order: Order = plan.order.read(self.party.originators()).map_err(|_| none_waits())?;
        if order.operation != Operation::Keygen {
            return Err(Problem::new(
                Code::SessionNotFound,
                "this session is no keygen: sign and refresh bring a share",
            ));
        }
        let (sender, unsealed) = oneshot::channel();
        let part = self.desk()?.part(None, recipient);
        if recipient.is_none() {
            *part.unsealed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(sender);
        }
        let deadline = plan.deadline;
        let worker = Arc::clone(self);
        // It goes on when the caller hangs up: what it makes can be asked for again.
        let mut running = tokio::spawn(async move {
            worker.run_plan((plan, waiting.token), Custody::User(part), None, Some(room)).await
        });
        // Whether it is over here, and whether another replica runs it.
        let (mut ran, mut elsewhere) = (false, false);
        loop {
            if let Some(delivery) = self.party.store.delivery(ShareLookup::Session(session)).await? {
                if recipient.is_none()
                    && let Ok(Ok(share)) = tokio::time::timeout(ON_ITS_WAY, unsealed).await
                {
                    return Ok(HandedOver::Unsealed(delivery, share));
                }
                return handed_over(delivery, recipient);
            }
            if ran || self.party.clock.millis() > deadline {
                return Err(failed(session, "the key generation has failed: create another account"));
            }
            tokio::select! {
                ended = &mut running, if !elsewhere => match ended {
                    Ok(Ok(_)) => ran = true,
                    // Another replica runs it: what it makes is found in the store.
                    Ok(Err(NotRun::ClaimedBefore)) => elsewhere = true,
                    Ok(Err(refused)) => return Err(failed(session, &refused.to_string())),
                    Err(_) => return Err(failed(session, "the session died")),
                },
                () = tokio::time::sleep(LOOK / 4) => {}
            }
        }
    }

    /// The plan of a session, which may still be on its way.
    async fn waiting(&self, session: SessionId) -> Result<(WaitingPlan, Plan), Problem> {
        let until = Instant::now() + ON_ITS_WAY;
        loop {
            if let Some(waiting) = self.party.store.waiting_plans(ShareLookup::Session(session)).await?.pop()
            {
                let plan = decode::<Plan>(&waiting.plan).map_err(|_| none_waits())?;
                return Ok((waiting, plan));
            }
            if self.party.store.was_claimed(session).await? || Instant::now() >= until {
                return Err(none_waits());
            }
            self.desk()?.look().await;
        }
    }

    /// A share that was made for a user whom the order names; it is waited for.
    ///
    /// # Errors
    /// A problem for the caller.
    pub(crate) async fn made_share(
        &self,
        which: ShareLookup,
        patience: Duration,
    ) -> Result<HandedOver, Problem> {
        let until = Instant::now() + patience;
        loop {
            if let Some(delivery) = self.party.store.delivery(which).await? {
                let recipient = delivery.recipient;
                return handed_over(delivery, recipient);
            }
            if Instant::now() >= until {
                return Err(none_waits());
            }
            self.desk()?.look().await;
        }
    }

    /// The user has the share in good hands: it becomes active.
    ///
    /// # Errors
    /// A problem for the caller.
    pub(crate) async fn confirm(
        &self,
        session: SessionId,
        by: Option<[u8; 32]>,
    ) -> Result<Delivery, Problem> {
        let store = &self.party.store;
        let confirmed = store.confirm(session, by, self.party.clock.millis()).await?;
        match confirmed {
            // Whoever confirmed it before may have died before the next step.
            Confirmation::Confirmed | Confirmation::AlreadyConfirmed => {}
            Confirmation::Expired => return Err(expired()),
            Confirmation::Unknown => return Err(none_waits()),
        }
        let delivery = store.delivery(ShareLookup::Session(session)).await?.ok_or_else(none_waits)?;
        match store.activate(&delivery.certificate).await {
            // With a later epoch active, this one was too.
            Ok(()) | Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if confirmed == Confirmation::AlreadyConfirmed {
            let detail = "this share was confirmed before: nothing is left to do";
            return Err(Problem::new(Code::ShareAlreadyConfirmed, detail));
        }
        // If nobody can be told now, it is told later.
        if let Err(error) = self.report_what_is_due().await {
            tracing::warn!(%error, "that a share was confirmed is reported later");
        }
        Ok(delivery)
    }
}

fn handed_over(delivery: Delivery, recipient: Option<[u8; 32]>) -> Result<HandedOver, Problem> {
    match (delivery.state, delivery.recipient, &delivery.sealed) {
        (DeliveryState::Expired, ..) => Err(expired()),
        (DeliveryState::Confirmed, ..) | (_, None, _) => Err(Problem::new(
            Code::ShareAlreadyDelivered,
            "this share was handed over before, and nothing of it was kept",
        )),
        (_, Some(to), _) if Some(to) != recipient => {
            Err(Problem::new(Code::RecipientDiffers, "recipient_key: this share was sealed to another key"))
        }
        (_, Some(to), Some(sealed)) => {
            let sealed = sealed.clone();
            Ok(HandedOver::Sealed(delivery, to, sealed))
        }
        (_, Some(_), None) => Err(expired()),
    }
}

fn none_waits() -> Problem {
    Problem::new(Code::SessionNotFound, "no session with this id waits for a user, or not any more")
}

fn expired() -> Problem {
    let detail =
        "nobody confirmed this share in time: nothing came of it, ask for another account or refresh";
    Problem::new(Code::ShareExpired, detail)
}

fn failed(session: SessionId, detail: &str) -> Problem {
    Problem { session: Some(session), ..Problem::new(Code::Refused, detail) }
}
