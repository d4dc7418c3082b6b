//! The API that backends call, over HTTP.
//!
//! One handler file per resource; the list of routes is [`router`].

mod accounts;
mod idempotency;
mod lease;
mod new_shares;
mod response_cache;
mod sessions;
mod state;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use quorate_core::code::Code;
use quorate_net::problem::Problem;
use quorate_net::web::rates::limit_account;
use quorate_net::web::{guard, health};
use utoipa::openapi::security::{ApiKey as ApiKeyPlace, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{Components, InfoBuilder, LicenseBuilder, OpenApi, SecurityRequirement};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use state::{Api, ApiSetup, ApiState};

/// The licences of this program (SPDX).
const LICENSE: &str = env!("CARGO_PKG_LICENSE");

/// All routes.
pub fn router(api: Api) -> Router {
    let (open, mut description) = OpenApiRouter::new().routes(routes!(health::health)).split_for_parts();
    let open = open.with_state(api.health.clone());
    let (guarded, described) = OpenApiRouter::new()
        .routes(routes!(accounts::create))
        .routes(routes!(accounts::read))
        .routes(routes!(accounts::sign))
        .routes(routes!(new_shares::refresh))
        .routes(routes!(new_shares::repair))
        .routes(routes!(sessions::read))
        .split_for_parts();
    description.merge(described);
    describe(&mut description);
    let guarded = guarded.method_not_allowed_fallback(method_not_allowed).with_state(api.clone());
    let guarded = guarded.route_layer(from_fn_with_state(api.account_rate.clone(), limit_account));
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
