//! The routes under `/api/v1/sessions`: shows the state and the result of a session.

use axum::Json;
use axum::extract::{Path, State};
use quorate_net::problem::Problem;
use quorate_net::web::params;
use quorate_net::web::problem_document::ProblemDocument;

use super::state::Api;
use crate::SessionView;

/// Read a session
///
/// The state of a session, with the signature if it made one. It can be read also after a request for it has timed out.
#[utoipa::path(
    get, path = "/api/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The session's id")),
    responses(
        (status = 200, description = "The session", body = SessionView),
        (status = "4XX", description = "What you have to change", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "5XX", description = "What went wrong, and whether to try again", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn read(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<SessionView>, Problem> {
    Ok(Json(api.accounts.session(params::session_id(&id)?).await?))
}
