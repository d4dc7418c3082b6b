//! The user's party as a process.

use quorate_net::web::guard::Guard;
use quorate_net::web::health;
use quorate_party::api::{self, PartyApi};
use quorate_party::user::shares::Desk;

use super::listen::Callers;
use super::party::{RunningParty, Worker, identity, work};
use super::{Context, GRACE, Role, StartError, needed};

pub(super) async fn start(context: &mut Context<'_>) -> Result<RunningParty, StartError> {
    let by = Role::PartyApi;
    let identity = identity(context, by)?;
    let roles = &context.config.roles;
    if needed(roles.user_party, "QUORATE_USER_PARTY_KEY", by)? != identity {
        return Err(StartError::NotUserParty(identity.to_string()));
    }
    let seed = needed(roles.identity.clone(), "QUORATE_IDENTITY_KEY", by)?;
    let key = needed(context.config.http.key.clone(), "MPC_API_KEY", by)?;
    let unsealed = roles.unsealed_shares;
    let desk = Desk::new(roles.confirm_within);
    let port = context.listen(roles.party_api_listen, Callers::Anybody).await?;
    let port_for_roles = context.listen(roles.party_api_grpc_listen, Callers::Roles).await?;
    let Worker { running, service, health } = work(context, by, Some(desk)).await?;
    let guard = Guard {
        key: Some(key),
        allowed: context.config.http.allowed.clone(),
        proxies: context.config.http.proxies.clone(),
    };
    let left_behind = service.left_behind().await.map_err(|error| context.store_failed(error))?;
    let party_api = PartyApi::new(service.clone(), &seed, unsealed);
    let routes = api::routes(party_api.clone(), guard).merge(health::routes(health));
    context.tasks.spawn(port.serve(routes, context.stop.clone(), GRACE));
    context.tasks.spawn(port_for_roles.serve(api::service(party_api), context.stop.clone(), GRACE));
    context.tasks.spawn(service.serve(left_behind, context.stop.clone(), GRACE));
    if unsealed {
        tracing::warn!(
            "USER_SHARE_PLAINTEXT: shares are handed to whoever asks, unsealed; use it behind TLS only"
        );
    }
    tracing::info!(%identity, "the party API is there");
    Ok(running)
}
