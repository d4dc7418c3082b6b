//! The coordinator: makes sessions out of orders, and passes on what parties report. It is trusted with nothing but to
//! try: what it chooses is checked by every party, what it passes on is signed by others.

mod driver;
mod grpc;
mod http;
mod in_flight;
mod outbox;
mod presence;
mod quorum;
mod reports;
mod verdict;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_backends::database::StoreError;
use quorate_backends::queue::Queue;
use quorate_control_store::SessionStore;
use quorate_core::admission::Plugin;
use quorate_core::identity::PublicKey;
use quorate_core::{AccountId, Digest, PartyIndex};
use quorate_net::clock::Clock;
use quorate_net::join_token::JoinKey;
use quorate_net::topics::{PRESENCE, REPORTS};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use in_flight::InHand;
use presence::Presence;
use reports::Waiting;

pub use grpc::service;
pub use http::routes;

/// Orders at a time. Fewer than a party's queue has room for, so that a plan always finds room in it.
const ORDERS: usize = 512;

/// Accounts whose bans are remembered between sessions. What is forgotten is learned again from a refusal.
const ACCOUNTS_WITH_BANS: usize = 10_000;

/// How often sessions that nobody ended are ended, and what is old is forgotten.
const SWEEP: Duration = Duration::from_secs(30);

/// How often plans are looked for that another coordinator has left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(1);

/// How long to wait before a topic is listened to again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// What a [`Coordinator`] is given.
pub struct CoordinatorSetup {
    /// Where sessions are kept.
    pub store: SessionStore,
    /// Where plans go.
    pub queue: Arc<dyn Queue>,
    /// Whose orders it carries out.
    pub originators: Vec<PublicKey>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What lets parties into sessions at the routers.
    pub key: JoinKey,
    /// Whether parties that seal with the same master key are done without.
    pub own_keys_only: bool,
}

/// A coordinator.
pub struct Coordinator {
    setup: CoordinatorSetup,
    presence: Presence,
    waiting: Waiting,
    slots: Arc<Semaphore>,
    bans: Mutex<HashMap<AccountId, BTreeSet<(PartyIndex, PartyIndex)>>>,
    turn: AtomicU64,
    orders: TaskTracker,
    in_hand: InHand,
}

impl Coordinator {
    /// A coordinator that knows of no party yet.
    #[must_use]
    pub fn new(setup: CoordinatorSetup) -> Arc<Self> {
        Arc::new(Self {
            presence: Presence::new(setup.own_keys_only),
            setup,
            waiting: Waiting::default(),
            slots: Arc::new(Semaphore::new(ORDERS)),
            bans: Mutex::default(),
            turn: AtomicU64::new(0),
            orders: TaskTracker::new(),
            in_hand: InHand::default(),
        })
    }

    /// Listens for parties and keeps the house until `stop`; then waits for the orders under way, for at most `grace`.
    ///
    /// # Errors
    /// When the store fails at the start.
    pub async fn work(self: Arc<Self>, stop: CancellationToken, grace: Duration) -> Result<(), StoreError> {
        self.sweep().await?;
        let mut tick = interval(SWEEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let listening = async { tokio::join!(self.listen(PRESENCE), self.listen(REPORTS)) };
        let publishing = async {
            let mut tick = interval(LEFT_BEHIND);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                if let Err(error) = self.publish_left_behind().await {
                    tracing::warn!(%error, cause = ?std::error::Error::source(&error), "the outbox could not be read");
                }
            }
        };
        let sweeping = async {
            loop {
                tick.tick().await;
                if let Err(error) = self.sweep().await {
                    tracing::error!(%error, cause = ?std::error::Error::source(&error), "the control database failed");
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            _ = listening => {}
            () = publishing => {}
            () = sweeping => {}
        }
        self.orders.close();
        let _ = tokio::time::timeout(grace, self.orders.wait()).await;
        Ok(())
    }

    /// Waits until all these parties have said that a component is active, for at most `patience`; false if not.
    pub async fn hears_of(&self, digest: Digest, parties: &[PublicKey], patience: Duration) -> bool {
        let has = |plugins: &Vec<Plugin>| plugins.iter().any(|plugin| plugin.digest == digest);
        let heard = async {
            loop {
                let there = self.presence.there();
                if parties.iter().all(|party| there.get(party).is_some_and(has)) {
                    return;
                }
                self.presence.next_heartbeat().await;
            }
        };
        tokio::time::timeout(patience, heard).await.is_ok()
    }

    async fn listen(&self, topic: &str) {
        loop {
            match self.setup.queue.listen(topic).await {
                Ok(mut listener) => {
                    while let Ok(payload) = listener.next().await {
                        match topic {
                            PRESENCE => self.presence.heard(&payload),
                            _ => self.hear_report(&payload).await,
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, topic, "nothing can be heard"),
            }
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.setup.clock.millis();
        // A session's parties may report a moment after its deadline.
        let ended = self.setup.store.end_overdue(now.saturating_sub(driver::LATE_REPORTS)).await?;
        if ended > 0 {
            tracing::info!(ended, "sessions were ended whose deadline had passed");
        }
        self.setup.store.forget_old_sessions(now).await
    }

    fn bans_of(&self, account: AccountId) -> BTreeSet<(PartyIndex, PartyIndex)> {
        let bans = self.bans.lock().unwrap_or_else(PoisonError::into_inner);
        bans.get(&account).cloned().unwrap_or_default()
    }

    fn note_ban(&self, account: AccountId, by: PartyIndex, counterparty: PartyIndex) {
        let mut bans = self.bans.lock().unwrap_or_else(PoisonError::into_inner);
        if bans.len() >= ACCOUNTS_WITH_BANS && !bans.contains_key(&account) {
            bans.clear();
        }
        bans.entry(account).or_default().insert((by, counterparty));
    }

    /// Tells everybody who listens to a topic, without waiting for it.
    fn announce(&self, topic: &'static str, payload: Vec<u8>) {
        let queue = Arc::clone(&self.setup.queue);
        tokio::spawn(async move {
            if let Err(error) = queue.announce(topic, payload).await {
                tracing::debug!(%error, topic, "nobody could be told");
            }
        });
    }

    fn next_turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}
