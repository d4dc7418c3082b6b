//! Problems as RFC 9457 documents.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use quorate_core::code::Code;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use crate::problem::Problem;

/// How long to wait before the same request is made again, in seconds: a busy moment is over by then.
const RETRY_AFTER_SECONDS: &str = "2";

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemDocument {
    /// `urn:quorate:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// For people: the kind of problem.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// For people: what is wrong and what to do about it.
    detail: String,
    /// Stable: programs may depend on it. docs/errors.md explains each.
    #[schema(schema_with = code_schema)]
    code: &'static str,
    /// The session, if one was begun: its result can still be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    /// Parties that another party accuses. No proof.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    culprits: Vec<u16>,
}

/// The closed list of codes.
fn code_schema() -> Object {
    let texts = Code::ALL.iter().map(|code| code.text());
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(texts)).build()
}

/// A problem as JSON.
fn document(problem: &Problem) -> String {
    let document = ProblemDocument {
        kind: format!("urn:quorate:problem:{}", problem.code),
        title: problem.code.title(),
        status: problem.code.status(),
        detail: problem.detail.clone(),
        code: problem.code.text(),
        session_id: problem.session.map(|session| session.to_string()),
        culprits: problem.culprits.iter().map(|c| c.number()).collect(),
    };
    // A struct of strings and numbers always serialises.
    serde_json::to_string(&document).unwrap_or_default()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, document(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.code.is_transient() || self.code == Code::InProgress {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        if self.code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("X-API-Key"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_tried_again_says_when() {
        let answer = |code| Problem::new(code, "why").into_response();
        for (code, again) in [
            (Code::Overloaded, true),
            (Code::PartiesUnavailable, true),
            (Code::DeadlinePassed, true),
            (Code::InvalidMessage, false),
            (Code::Internal, false),
        ] {
            let answer = answer(code);
            assert_eq!(answer.status().as_u16(), code.status());
            assert_eq!(answer.headers().contains_key(header::RETRY_AFTER), again, "{code}");
        }
    }
}
