//! The router as a process.

use std::sync::Arc;

use quorate_net::server::Callers;
use quorate_net::web::health;
use quorate_net::web::health::Health;
use quorate_router::{Hub, Peering, RouterSetup, service};

use super::context::{Context, SHUTDOWN_GRACE_PERIOD, needed};
use super::error::StartError;
use super::role::Role;

pub(super) async fn start(context: &mut Context<'_>) -> Result<(), StartError> {
    let by = Role::Router;
    let tokens = needed(context.config.roles.join_verifier.clone(), "JWT_PUBLIC_KEYS", by)?;
    let address = context.config.roles.router_listen;
    let port = context.listen(address, Callers::Roles).await?;
    let queue = context.rabbitmq(by).await?;
    let mut name = [0; 16];
    getrandom::fill(&mut name).map_err(|_| StartError::NoRandomness)?;
    let (peering, outbox) = Peering::new(queue.clone(), name);
    let hub = Hub::default();
    context.tasks.spawn(Arc::clone(&peering).work(outbox, hub.clone(), context.stop.clone()));
    let health = Health::of(by.name()).with_queue(queue);
    let setup = RouterSetup { hub, tokens, clock: context.clock.clone(), peering: Some(peering) };
    let routes = service(setup).merge(health::routes(health));
    context.tasks.spawn(port.serve(routes, context.stop.clone(), SHUTDOWN_GRACE_PERIOD));
    tracing::info!(%address, "router ready");
    Ok(())
}
