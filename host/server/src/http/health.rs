//! `/health`

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

/// That the service is up.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`
    status: &'static str,
    /// The version of this process.
    version: &'static str,
}

/// Whether the service is up
///
/// Needs no key.
#[utoipa::path(get, path = "/health", tag = "health", security(()), responses((status = 200, body = Health)))]
pub(super) async fn health() -> Json<Health> {
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}
