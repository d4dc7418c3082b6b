//! The coordinator's view of sessions and parties over HTTP. Operators read it; no party and no account service
//! relies on it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use axum::{Json, Router};
use quorate_control_store::{SessionRecord, SessionStatus};
use quorate_core::code::Code;
use quorate_net::problem::Problem;
use quorate_net::web::guard;
use quorate_net::web::guard::Guard;
use quorate_net::web::params::session_id;
use serde::Serialize;

use super::Coordinator;

/// The routes, behind the guard.
pub fn routes(coordinator: Arc<Coordinator>, guarded_by: Guard) -> Router {
    Router::new()
        .route("/api/v1/sessions/{id}", get(session))
        .route("/api/v1/parties", get(parties))
        .with_state(coordinator)
        .layer(from_fn_with_state(guarded_by, guard::guard))
}

#[derive(Serialize)]
struct SessionReport {
    id: String,
    order_id: String,
    account_id: String,
    /// `running`, `completed` or `failed`.
    status: &'static str,
    signers: Vec<u16>,
    plugin_digest: String,
    created_at_ms: u64,
    deadline_at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at_ms: Option<u64>,
    /// How many parties have reported.
    reports: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<FailureView>,
}

#[derive(Serialize)]
struct FailureView {
    code: String,
    reason: String,
    /// Parties that another party accuses. No proof.
    culprits: Vec<u16>,
}

#[derive(Serialize)]
struct PartyView {
    identity: String,
    plugins: Vec<PluginView>,
}

#[derive(Serialize)]
struct PluginView {
    digest: String,
    protocol: String,
    version: String,
    schemes: Vec<String>,
    max_parties: u16,
}

async fn session(
    State(coordinator): State<Arc<Coordinator>>,
    Path(id): Path<String>,
) -> Result<Json<SessionReport>, Problem> {
    let record = coordinator.state.services.store.session(session_id(&id)?).await?;
    let none = || Problem::new(Code::SessionNotFound, "no session has this id, or it is older than 30 days");
    Ok(Json(view(record.ok_or_else(none)?)))
}

async fn parties(State(coordinator): State<Arc<Coordinator>>) -> Json<Vec<PartyView>> {
    let there = coordinator.state.presence.online().into_iter().map(|(identity, plugins)| PartyView {
        identity: identity.to_string(),
        plugins: plugins
            .into_iter()
            .map(|plugin| PluginView {
                digest: plugin.digest.to_string(),
                protocol: plugin.protocol,
                version: plugin.version.to_string(),
                schemes: plugin.schemes,
                max_parties: plugin.max_parties,
            })
            .collect(),
    });
    let mut there: Vec<PartyView> = there.collect();
    there.sort_by(|a, b| a.identity.cmp(&b.identity));
    Json(there)
}

fn view(record: SessionRecord) -> SessionReport {
    let SessionRecord { session, status, reports, .. } = record;
    let (status, ended_at_ms, error) = match status {
        SessionStatus::Running => ("running", None, None),
        SessionStatus::Completed { at } => ("completed", Some(at.0), None),
        SessionStatus::Failed { at, code, reason, culprits } => {
            let culprits = culprits.iter().map(|culprit| culprit.number()).collect();
            ("failed", Some(at.0), Some(FailureView { code, reason, culprits }))
        }
    };
    SessionReport {
        id: session.id.to_string(),
        order_id: session.order.to_string(),
        account_id: session.account.to_string(),
        status,
        signers: session.signers.iter().map(|signer| signer.number()).collect(),
        plugin_digest: session.digest.to_string(),
        created_at_ms: session.created.0,
        deadline_at_ms: session.deadline.0,
        ended_at_ms,
        reports: reports.len(),
        error,
    }
}
