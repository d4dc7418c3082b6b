//! The account service as a process.

use std::sync::Arc;

use quorate_account::api::{self, Api, ApiSetup};
use quorate_account::{AccountService, AccountSetup, UserParty};
use quorate_backends::cache::{Cache, MemoryCache};
use quorate_control_store::AccountStore;
use quorate_net::server::Callers;
use quorate_net::web::guard::Guard;
use quorate_net::web::health::Health;
use quorate_net::web::rates::RequestRate;

use super::context::{Context, SHUTDOWN_GRACE_PERIOD, needed, some, time_limits};
use super::error::StartError;
use super::role::Role;
use crate::config::{ApiKeyKind, ConfigError};

pub(super) async fn start(context: &mut Context<'_>) -> Result<(), StartError> {
    let by = Role::Account;
    let guard = context.guard(ApiKeyKind::Sign, Some(by))?;
    let originator = needed(context.config.roles.originator.clone(), "QUORATE_ORIGINATOR_KEY", by)?;
    let row_keys = needed(context.config.roles.row_keys.clone(), "QUORATE_ACCOUNT_ROW_KEYS", by)?;
    some(&context.config.roles.parties, "QUORATE_PARTY_KEYS", by)?;
    some(&context.config.roles.coordinators, "QUORATE_COORDINATORS", by)?;
    let events = context.queue_when_there().await?;
    let coordinators = context.replicas(&context.config.roles.coordinators);
    let address = context.config.http.listen;
    let port = context.listen(address, Callers::Anybody).await?;
    let database = context.postgres(by).await?;
    let store =
        AccountStore::open(database.clone(), row_keys).await.map_err(|error| context.store_failed(error))?;
    let cache = context.cache().await?;
    let user_party = match (context.config.roles.user_party, &context.config.roles.party_apis) {
        (None, apis) if apis.is_empty() => None,
        (Some(key), apis) if !apis.is_empty() => Some(UserParty { key, replicas: context.replicas(apis) }),
        (None, _) => {
            return Err(ConfigError::Missing { name: "QUORATE_USER_PARTY_KEY", by: by.name() }.into());
        }
        (Some(_), _) => return Err(ConfigError::Missing { name: "QUORATE_PARTY_APIS", by: by.name() }.into()),
    };
    let accounts = AccountService::new(AccountSetup {
        store,
        coordinators,
        originator,
        originators: context.config.roles.originators.clone(),
        parties: context.config.roles.parties.clone(),
        former_parties: context.config.roles.former_parties.clone(),
        minimum_plugins: context.config.plugins.minimum.clone(),
        user_party,
        clock: context.clock.clone(),
        limits: time_limits(context.config.limits),
        presignatures: context.config.limits.presignatures,
    });
    let rate = |of, at_most| RequestRate::new(of, at_most, cache.clone(), Arc::clone(&context.clock));
    let guard = Guard { rate: rate("key", context.config.http.rates.per_key), ..guard };
    let account_rate = rate("account", context.config.http.rates.per_account);
    let health = Health::of(by.name()).with_database(database);
    let (health, cache) = match cache {
        Some(cache) => (health.with_cache(Arc::clone(&cache)), cache),
        // Every process its own: what it does not know is in the database.
        None => (health, Arc::new(MemoryCache::default()) as Arc<dyn Cache>),
    };
    let api = Api::new(ApiSetup { accounts, guard, account_rate, health, cache });
    if let Some(connecting) = events {
        let listening = api.clone();
        let listened = async move { listening.listen_to_events(&*connecting.await).await };
        context.tasks.spawn(context.stop.clone().run_until_cancelled_owned(listened));
    }
    let maintaining = api.clone();
    let maintained = async move { maintaining.maintain().await };
    context.tasks.spawn(context.stop.clone().run_until_cancelled_owned(maintained));
    let stop = context.stop.clone();
    context.tasks.spawn(async move {
        port.serve(api::router(api.clone()), stop, SHUTDOWN_GRACE_PERIOD).await;
        // Requests whose callers have hung up.
        let _ = tokio::time::timeout(SHUTDOWN_GRACE_PERIOD, api.finish()).await;
    });
    tracing::info!(%address, "API ready; its description is at /openapi.json");
    Ok(())
}
