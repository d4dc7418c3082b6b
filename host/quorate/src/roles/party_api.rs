//! The users' party as a process.

use std::sync::Arc;

use quorate_net::server::Callers;
use quorate_net::web::health;
use quorate_party::api::{self, PartyApi};
use quorate_party::user::inbox::UserInbox;
use quorate_party::worker::PartyWorker;

use super::context::{Context, SHUTDOWN_GRACE_PERIOD, needed};
use super::error::StartError;
use super::party::{Prepared, RunningParty, identity, prepare};
use super::role::Role;
use crate::config::ApiKeyKind;

pub(super) async fn start(context: &mut Context<'_>) -> Result<RunningParty, StartError> {
    let by = Role::PartyApi;
    let identity = identity(context, by)?;
    let roles = &context.config.roles;
    if needed(roles.user_party, "QUORATE_USER_PARTY_KEY", by)? != identity {
        return Err(StartError::NotUserParty(identity.to_string()));
    }
    let guard = context.guard(ApiKeyKind::Shares, Some(by))?;
    let (unsealed, sealing_key_period) = (roles.unsealed_shares, roles.sealing_key_period);
    let inbox = UserInbox::new(roles.confirm_within);
    let port = context.listen(roles.party_api_listen, Callers::Anybody).await?;
    let port_for_roles = context.listen(roles.party_api_grpc_listen, Callers::Roles).await?;
    let Prepared { running, setup, health } = prepare(context, by).await?;
    let (worker, shares) = PartyWorker::with_user_shares(setup, inbox);
    let worker = Arc::new(worker);
    let unreported = worker.recover_unreported().await.map_err(|error| context.store_failed(error))?;
    let party_api = PartyApi::new(shares, sealing_key_period, unsealed);
    let routes = api::routes(party_api.clone(), guard).merge(health::routes(health));
    context.tasks.spawn(port.serve(routes, context.stop.clone(), SHUTDOWN_GRACE_PERIOD));
    context.tasks.spawn(port_for_roles.serve(
        api::service(party_api),
        context.stop.clone(),
        SHUTDOWN_GRACE_PERIOD,
    ));
    context.tasks.spawn(worker.serve(unreported, context.stop.clone(), SHUTDOWN_GRACE_PERIOD));
    if unsealed {
        tracing::warn!(
            "USER_SHARE_PLAINTEXT: callers that give no recipient key get unsealed shares; use it behind TLS only"
        );
    }
    tracing::info!(%identity, "party API ready");
    Ok(running)
}
