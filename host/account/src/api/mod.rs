//! The API that backends call, over HTTP.
//!
//! One handler file per resource; the list of routes is [`router`].

mod accounts;
mod idempotency;
mod lease;
mod response_cache;
mod sessions;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use quorate_backends::cache::Cache;
use quorate_core::code::Code;
use quorate_net::problem::Problem;
use quorate_net::web::guard::{self, Guard};
use quorate_net::web::health::{self, Health};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::TaskTracker;
use utoipa::openapi::security::{ApiKey as ApiKeyPlace, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{Components, InfoBuilder, LicenseBuilder, OpenApi, SecurityRequirement};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AccountService;
use response_cache::ResponseCache;

/// The licences of this program (SPDX).
const LICENSE: &str = env!("CARGO_PKG_LICENSE");

/// How often expired idempotency keys are deleted. An expired key is ignored before that too.
const KEY_CLEANUP_INTERVAL: Duration = Duration::from_secs(600);

/// The parts that the API is served from.
pub struct ApiSetup {
    /// The account service.
    pub accounts: AccountService,
    /// Decides who may call.
    pub guard: Guard,
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
    accounts: AccountService,
    guard: Guard,
    health: Health,
    responses: ResponseCache,
    /// Permits of requests with an idempotency key.
    keyed_requests: Semaphore,
    /// Requests under way, which go on when their callers hang up.
    requests: TaskTracker,
}

impl Deref for Api {
    type Target = ApiState;

    fn deref(&self) -> &ApiState {
        &self.0
    }
}

impl Api {
    /// An API.
    #[must_use]
    pub fn new(setup: ApiSetup) -> Self {
        let ApiSetup { accounts, guard, health, cache } = setup;
        let responses = ResponseCache::new(cache, accounts.originator_seed());
        let keyed_requests = Semaphore::new(idempotency::MAX_KEYED_REQUESTS);
        let requests = TaskTracker::new();
        Self(Arc::new(ApiState { accounts, guard, health, responses, keyed_requests, requests }))
    }

    /// Deletes expired idempotency keys at intervals, until it is dropped.
    pub async fn maintain(&self) {
        let mut tick = interval(KEY_CLEANUP_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let now = self.accounts.clock().millis();
            if let Err(error) = self.accounts.store().forget_old_keys(now).await {
                tracing::warn!(%error, "failed to delete expired idempotency keys");
            }
        }
    }

    /// Waits for the requests under way, once no new ones come.
    pub async fn finish(&self) {
        self.requests.close();
        self.requests.wait().await;
    }
}

/// All routes.
pub fn router(api: Api) -> Router {
    let (open, mut description) = OpenApiRouter::new().routes(routes!(health::health)).split_for_parts();
    let open = open.with_state(api.health.clone());
    let (guarded, described) = OpenApiRouter::new()
        .routes(routes!(accounts::create))
        .routes(routes!(accounts::read))
        .routes(routes!(accounts::sign))
        .routes(routes!(accounts::refresh))
        .routes(routes!(sessions::read))
        .split_for_parts();
    description.merge(described);
    describe(&mut description);
    let guarded = guarded.method_not_allowed_fallback(method_not_allowed).with_state(api.clone());
    let guarded = guarded.fallback(not_found).layer(from_fn_with_state(api.guard.clone(), guard::guard));
    let description = Arc::new(description);
    open.route("/openapi.json", get(move || async move { axum::Json((*description).clone()) }))
        .method_not_allowed_fallback(method_not_allowed)
        .merge(guarded)
}

fn describe(api: &mut OpenApi) {
    let license = LicenseBuilder::new().name(LICENSE).identifier(Some(LICENSE)).build();
    // The library fills in its own author where nothing is said.
    api.info = InfoBuilder::new()
        .title("Quorate")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Accounts whose keys no process holds, and signatures with them."))
        .license(Some(license))
        .build();
    let place = ApiKeyPlace::Header(ApiKeyValue::new("X-API-Key"));
    api.components
        .get_or_insert_with(Components::default)
        .add_security_scheme("api_key", SecurityScheme::ApiKey(place));
    api.security = Some(vec![SecurityRequirement::new("api_key", Vec::<String>::new())]);
}

async fn not_found() -> Problem {
    Problem::new(Code::NotFound, "there is no such route: GET /openapi.json lists all")
}

async fn method_not_allowed() -> Problem {
    Problem::new(Code::MethodNotAllowed, "this route takes another method: GET /openapi.json lists all")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_says_of_itself_what_we_put_there_and_nothing_else() {
        let mut api = OpenApiRouter::<()>::new().split_for_parts().1;
        describe(&mut api);
        let info = serde_json::to_value(&api.info).unwrap();
        let fields: Vec<&str> = info.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["description", "license", "title", "version"]);
        assert_eq!(info["license"], serde_json::json!({ "name": LICENSE, "identifier": LICENSE }));
        assert_eq!(
            (&info["title"], &info["version"]),
            (&"Quorate".into(), &env!("CARGO_PKG_VERSION").into())
        );
    }
}
