//! The API of an embedded deployment.

use std::sync::Arc;

use quorate_account::AccountService;
use quorate_account::api::{self, Api, ApiSetup};
use quorate_backends::cache::MemoryCache;
use quorate_backends::queue::Queue;
use quorate_net::clock::SystemClock;
use quorate_net::server::{Callers, serve};
use quorate_net::web::guard::{AllowedAddresses, ApiKeyHashes, FailedKeys, Guard};
use quorate_net::web::health::Health;
use quorate_net::web::rates::RequestRate;
use quorate_party::Party;
use tokio::net::TcpListener;

use super::context::SHUTDOWN_GRACE_PERIOD;
use super::task_groups::TaskGroup;
use crate::config::{ApiKeyKind, RatesConfig};

/// How often requests may come, by the count of this process.
pub(super) fn rate(of: &'static str, at_most: u32) -> RequestRate {
    RequestRate::new(of, at_most, None, Arc::new(SystemClock))
}

/// Who may call.
pub(super) fn guard_of(
    keys: ApiKeyHashes,
    allowed: AllowedAddresses,
    proxies: AllowedAddresses,
    rates: &RatesConfig,
) -> Guard {
    Guard {
        keys: Some(keys),
        keys_setting: ApiKeyKind::Sign.setting(),
        allowed,
        proxies,
        failed: FailedKeys::new(rates.failed_keys),
        rate: rate("key", rates.per_key),
    }
}

/// Starts the API, with what its account service does beside requests.
pub(super) fn start_api(
    accounts: AccountService,
    (guard, account_rate, listener): (Guard, RequestRate, TcpListener),
    parties: &[Arc<Party>],
    queue: Arc<dyn Queue>,
    tasks: &TaskGroup,
) -> Api {
    let parties = parties.to_vec();
    let health =
        Health::of("all").with_trouble(move || parties.iter().find_map(|party| party.trouble_text()));
    let cache = Arc::new(MemoryCache::default());
    let api = Api::new(ApiSetup { accounts, guard, account_rate, health, cache });
    let working = api.clone();
    let work = async move { tokio::join!(working.maintain(), working.listen_to_events(&*queue)) };
    tasks.tasks.spawn(tasks.token.clone().run_until_cancelled_owned(work));
    tasks.tasks.spawn(serve(
        listener,
        api::router(api.clone()),
        Callers::Anybody,
        tasks.token.clone(),
        SHUTDOWN_GRACE_PERIOD,
    ));
    api
}
