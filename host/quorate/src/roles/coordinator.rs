//! The coordinator as a process.

use std::sync::Arc;

use quorate_control_store::SessionStore;
use quorate_coordinator::{Coordinator, CoordinatorSetup};
use quorate_net::server::Callers;
use quorate_net::telemetry::chain;
use quorate_net::web::health;
use quorate_net::web::health::Health;

use super::context::{Context, SHUTDOWN_GRACE_PERIOD, needed, some};
use super::error::StartError;
use super::role::Role;
use crate::config::{ApiKeyKind, Environment};

pub(super) async fn start(context: &mut Context<'_>) -> Result<(), StartError> {
    let by = Role::Coordinator;
    let key = needed(context.config.roles.join_key.clone(), "JWT_SECRET_KEY", by)?;
    some(&context.config.roles.originators, "QUORATE_ORIGINATORS", by)?;
    some(&context.config.roles.parties, "QUORATE_PARTY_KEYS", by)?;
    let address = context.config.roles.coordinator_listen;
    let port = context.listen(address, Callers::Roles).await?;
    let database = context.postgres(by).await?;
    let store = SessionStore::open(database.clone()).await.map_err(|error| context.store_failed(error))?;
    let queue = context.rabbitmq(by).await?;
    let coordinator = Coordinator::new(CoordinatorSetup {
        store,
        queue: queue.clone(),
        originators: context.config.roles.originators.clone(),
        parties: context.config.roles.all_parties(),
        clock: context.clock.clone(),
        key,
        require_distinct_master_keys: context.config.environment == Environment::Production,
    });
    // Without keys nobody may ask for the state of sessions, and orders are carried out all the same.
    let guard = context.guard(ApiKeyKind::Operate, None)?;
    let health = Health::of(by.name()).with_database(database).with_queue(queue);
    let routes = quorate_coordinator::service(Arc::clone(&coordinator))
        .merge(quorate_coordinator::routes(Arc::clone(&coordinator), guard))
        .merge(health::routes(health));
    context.tasks.spawn(port.serve(routes, context.stop.clone(), SHUTDOWN_GRACE_PERIOD));
    let (stop, broken) = (context.stop.clone(), context.broken.clone());
    context.tasks.spawn(async move {
        if let Err(error) = coordinator.work(stop, SHUTDOWN_GRACE_PERIOD).await {
            tracing::error!(error = %chain(&error), "the coordinator can't continue");
            broken.cancel();
        }
    });
    tracing::info!(%address, "coordinator ready");
    Ok(())
}
