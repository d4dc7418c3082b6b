//! Bodies: JSON with exactly the fields that a request has.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use quorate_core::code::Code;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::problem::Problem;

/// The longest body, in bytes.
pub const MAX_BODY_BYTES: usize = 64 << 10;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest body that carries a share, in bytes.
pub const MAX_BODY_WITH_SHARE_BYTES: usize = 2 << 20;

/// The fields of a request.
pub trait Fields: DeserializeOwned {
    /// The longest body, in bytes.
    const MAX_BODY_BYTES: usize = MAX_BODY_BYTES;
}

/// A body as bytes, and as what it says.
pub struct Body<T> {
    /// As they came.
    pub bytes: Bytes,
    /// The parsed fields.
    pub value: T,
}

impl<S: Send + Sync, T: Fields> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_json = kind.is_some_and(|kind| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("application/json")
        });
        let declared_empty = request.headers().get(header::CONTENT_LENGTH).is_none_or(|l| l == "0");
        let bytes = read(request, T::MAX_BODY_BYTES).await?;
        // A request without fields may come without a body.
        let json: &[u8] = if bytes.is_empty() && declared_empty { b"{}" } else { &bytes };
        if !bytes.is_empty() && !is_json {
            let detail = "send JSON, and say so: Content-Type: application/json";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        let value = parse(json)?;
        Ok(Self { bytes, value })
    }
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Problem> {
    let problem = |code| move |error: serde_json::Error| Problem::new(code, format!("body: {error}"));
    // Whether it is JSON at all comes before what it says.
    serde_json::from_slice::<IgnoredAny>(json).map_err(problem(Code::MalformedJson))?;
    // A struct would also be read from a list of its fields.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::new(Code::InvalidBody, "body: send an object with named fields"));
    }
    serde_json::from_slice(json).map_err(problem(Code::InvalidBody))
}

async fn read(request: Request, longest: usize) -> Result<Bytes, Problem> {
    use http_body_util::{BodyExt, LengthLimitError, Limited};
    let reading = Limited::new(request.into_body(), longest).collect();
    let Ok(read) = tokio::time::timeout(BODY_TIMEOUT, reading).await else {
        return Err(Problem::new(Code::BodyTooSlow, "body: send all of it within ten seconds"));
    };
    match read {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Problem::new(Code::BodyTooLarge, format!("body: send at most {longest} bytes")))
        }
        Err(_) => Err(Problem::new(Code::MalformedJson, "body: it ended early")),
    }
}
