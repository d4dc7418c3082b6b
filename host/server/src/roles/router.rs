//! The router as a process.

use std::sync::Arc;

use super::listen::Callers;
use super::{Context, GRACE, Role, StartError, needed};
use crate::http::{Health, health};
use crate::router::{Exchange, Hub, RouterSetup, service};

pub(super) async fn start(context: &mut Context<'_>) -> Result<(), StartError> {
    let by = Role::Router;
    let key = needed(context.config.roles.join_key.clone(), "JWT_SECRET_KEY", by)?;
    let address = context.config.roles.router_listen;
    let port = context.listen(address, Callers::Roles).await?;
    let queue = context.rabbitmq(by).await?;
    let mut name = [0; 16];
    getrandom::fill(&mut name).map_err(|_| StartError::NoRandomness)?;
    let (exchange, outbox) = Exchange::new(queue.clone(), name);
    let hub = Hub::default();
    context.tasks.spawn(Arc::clone(&exchange).work(outbox, hub.clone(), context.stop.clone()));
    let health = Health::of(by.name()).with_queue(queue);
    let setup = RouterSetup { hub, key, clock: context.clock.clone(), exchange: Some(exchange) };
    let routes = service(setup).merge(health::routes(health));
    context.tasks.spawn(port.serve(routes, context.stop.clone(), GRACE));
    tracing::info!(%address, "the router is there");
    Ok(())
}
