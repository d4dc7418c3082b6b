//! The coordinator: makes sessions out of orders, and forwards what parties report. No part trusts it: every party
//! checks what it chooses, and others have signed what it passes on.
//!
//! | module | what |
//! |---|---|
//! | [`driver`], [`follower`], [`in_flight`] | carry an order out: one call leads, others follow |
//! | [`session_records`], [`collect`] | sessions that are recorded, and what comes of one |
//! | [`quorum`], [`plan`], [`presence`], [`bans`] | who takes part |
//! | [`presignatures`] | what the parties hold ready for signing in fewer rounds |
//! | [`outbox`] | plans on their way to the parties |
//! | [`reports`], [`waiters`], [`verdict`] | what parties report, and what it adds up to |
//! | [`submission`], [`state`], [`services`] | an order as it was submitted; what all parts share |
//! | [`grpc`], [`http`] | what account services and parties, and operators, ask |

mod bans;
mod collect;
mod driver;
mod erasures;
mod follower;
mod grpc;
mod http;
mod in_flight;
mod open_signings;
mod order_quorum;
mod outbox;
mod plan;
mod presence;
mod presignatures;
mod quorum;
mod reports;
mod services;
mod session_records;
mod state;
mod submission;
mod verdict;
mod waiters;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use quorate_backends::database::StoreError;
use quorate_core::Digest;
use quorate_core::admission::PluginFacts;
use quorate_core::identity::PublicKey;
use quorate_net::telemetry::chain;
use quorate_net::topics::{REPORTS, listen_to, presence_of};
use session_records::LATE_REPORTS_DURATION;
use state::CoordinatorState;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use grpc::service;
pub use http::routes;
pub use state::CoordinatorSetup;

/// Orders at a time. Fewer than a party's queue has room for, so that a plan always finds room in it.
const MAX_ORDERS: usize = 512;

/// How often sessions past their deadline are ended, and old ones are forgotten.
const SESSION_SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// How often plans are looked for that another coordinator has left in the outbox.
const OUTBOX_INTERVAL: Duration = Duration::from_secs(1);

/// A coordinator.
pub struct Coordinator {
    state: Arc<CoordinatorState>,
    /// Permits for orders.
    permits: Arc<Semaphore>,
    orders: TaskTracker,
}

impl Coordinator {
    /// A coordinator that knows of no party yet.
    #[must_use]
    pub fn new(setup: CoordinatorSetup) -> Arc<Self> {
        let state = Arc::new(CoordinatorState::new(setup));
        Arc::new(Self { state, permits: Arc::new(Semaphore::new(MAX_ORDERS)), orders: TaskTracker::new() })
    }

    /// Listens for parties and maintains the store until `stop`; then waits for the orders under way, for at most
    /// `grace`.
    ///
    /// # Errors
    /// When the store fails at the start.
    pub async fn work(self: Arc<Self>, stop: CancellationToken, grace: Duration) -> Result<(), StoreError> {
        self.sweep().await?;
        let background = async {
            tokio::join!(
                self.listen_to_heartbeats(),
                self.listen_to_reports(),
                self.republish_periodically(),
                self.sweep_periodically(),
            )
        };
        stop.run_until_cancelled(background).await;
        self.orders.close();
        let _ = tokio::time::timeout(grace, self.orders.wait()).await;
        Ok(())
    }

    /// Waits until all these parties have said that a component is active, for at most `patience`; false if not.
    pub async fn wait_for_plugin(&self, digest: Digest, parties: &[PublicKey], patience: Duration) -> bool {
        let presence = &self.state.presence;
        let has = |plugins: &Vec<PluginFacts>| plugins.iter().any(|plugin| plugin.digest == digest);
        let heard = async {
            loop {
                let online = presence.online();
                if parties.iter().all(|party| online.get(party).is_some_and(has)) {
                    return;
                }
                presence.next_heartbeat().await;
            }
        };
        tokio::time::timeout(patience, heard).await.is_ok()
    }

    async fn listen_to_heartbeats(&self) {
        let take = |payload: Vec<u8>| async move {
            self.state.presence.on_heartbeat(&payload, self.state.services.now());
        };
        // Each has a topic of its own: one that floods it pushes nobody else's heartbeats out.
        let topics: Vec<String> = self.state.presence.parties().iter().map(presence_of).collect();
        let queue = &*self.state.services.queue;
        join_all(topics.iter().map(|topic| listen_to(queue, topic, take))).await;
    }

    async fn listen_to_reports(&self) {
        let take = |payload: Vec<u8>| async move { self.state.reports.on_announced(&payload).await };
        listen_to(&*self.state.services.queue, REPORTS, take).await;
    }

    async fn republish_periodically(&self) {
        let mut tick = interval(OUTBOX_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Err(error) = self.state.outbox.republish_stale().await {
                tracing::warn!(error = %chain(&error), "failed to read the outbox");
            }
        }
    }

    async fn sweep_periodically(&self) {
        let mut tick = interval(SESSION_SWEEP_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Err(error) = self.sweep().await {
                tracing::error!(error = %chain(&error), "the coordinator's database failed");
            }
        }
    }

    /// Ends sessions past their deadline that no coordinator has ended, and forgets old ones.
    async fn sweep(&self) -> Result<(), StoreError> {
        let store = &self.state.services.store;
        let now = self.state.services.now();
        // A session's parties may report a moment after its deadline.
        let ended = store.end_overdue(now - LATE_REPORTS_DURATION).await?;
        if ended > 0 {
            tracing::info!(ended, "ended sessions whose deadline had passed");
        }
        store.forget_old_sessions(now).await
    }
}
