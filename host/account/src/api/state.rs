//! The API as its handlers see it: the service, the guard, and the requests under way.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use quorate_backends::cache::Cache;
use quorate_backends::queue::Queue;
use quorate_net::telemetry::chain;
use quorate_net::web::body::BodyRoom;
use quorate_net::web::guard::Guard;
use quorate_net::web::health::Health;
use quorate_net::web::rates::RequestRate;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::TaskTracker;

use super::response_cache::ResponseCache;
use crate::AccountService;

/// The most requests with a key at a time, those that wait for another's run among them.
const MAX_KEYED_REQUESTS: usize = 512;

/// How often expired idempotency keys are deleted. An expired key is ignored before that too.
const KEY_CLEANUP_INTERVAL: Duration = Duration::from_secs(600);

/// The parts that the API is served from.
pub struct ApiSetup {
    /// The account service.
    pub accounts: AccountService,
    /// Decides who may call.
    pub guard: Guard,
    /// How many requests may be made for one account.
    pub account_rate: RequestRate,
    /// Checks the services that the process needs.
    pub health: Health,
    /// The fast path of idempotency keys.
    pub cache: Arc<dyn Cache>,
}

/// The API. Clones share it.
#[derive(Clone)]
pub struct Api(Arc<ApiState>);

/// The state that clones of an API share.
pub struct ApiState {
    pub(super) accounts: AccountService,
    pub(super) guard: Guard,
    pub(super) account_rate: RequestRate,
    pub(super) health: Health,
    pub(super) responses: ResponseCache,
    /// The room for the bodies of requests.
    pub(super) bodies: BodyRoom,
    /// Permits of requests with an idempotency key.
    pub(super) keyed_requests: Semaphore,
    /// Requests under way, which go on when their callers hang up.
    pub(super) requests: TaskTracker,
}

impl Deref for Api {
    type Target = ApiState;

    fn deref(&self) -> &ApiState {
        &self.0
    }
}

impl FromRef<Api> for BodyRoom {
    fn from_ref(api: &Api) -> Self {
        api.bodies.clone()
    }
}

impl Api {
    /// An API.
    #[must_use]
    pub fn new(setup: ApiSetup) -> Self {
        let ApiSetup { accounts, guard, account_rate, health, cache } = setup;
        let responses = ResponseCache::new(cache, accounts.store().row_keys());
        let bodies = BodyRoom::default();
        let keyed_requests = Semaphore::new(MAX_KEYED_REQUESTS);
        let requests = TaskTracker::new();
        Self(Arc::new(ApiState {
            accounts,
            guard,
            account_rate,
            health,
            responses,
            bodies,
            keyed_requests,
            requests,
        }))
    }

    /// Authenticates rows of earlier row keys anew, deletes expired idempotency keys at intervals, and orders presignatures where
    /// they are few, until it is dropped.
    pub async fn maintain(&self) {
        tokio::join!(self.maintain_rows(), self.accounts.order_presignatures());
    }

    async fn maintain_rows(&self) {
        self.renew_row_macs().await;
        let mut tick = interval(KEY_CLEANUP_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let now = self.accounts.clock().millis();
            if let Err(error) = self.accounts.store().forget_old_keys(now).await {
                tracing::warn!(error = %chain(&error), "failed to delete expired idempotency keys");
            }
        }
    }

    async fn renew_row_macs(&self) {
        let store = self.accounts.store();
        if !store.row_keys().has_earlier() {
            return;
        }
        match store.renew_row_macs().await {
            Ok(accounts) => tracing::info!(
                accounts,
                "accounts are authenticated under the first row key: the others can be removed in a day"
            ),
            Err(error) => tracing::error!(error = %chain(&error), "failed to authenticate rows anew"),
        }
    }

    /// Listens to what components say while their sessions run, until it is dropped.
    pub async fn listen_to_events(&self, queue: &dyn Queue) {
        self.accounts.listen_to_events(queue).await;
    }

    /// Waits for the requests under way, once no new ones come.
    pub async fn finish(&self) {
        self.requests.close();
        self.requests.wait().await;
    }
}
