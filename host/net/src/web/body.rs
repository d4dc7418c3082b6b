//! Bodies: JSON with exactly the fields that a request has.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRef, FromRequest, Request};
use axum::http::header;
use quorate_core::code::Code;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

/// Bytes of the bodies that are read or kept at a port, all requests together: 32 of the longest, or 1,024 others.
const MAX_BODY_BYTES_AT_A_TIME: usize = 64 << 20;

/// The unit in which room for bodies is given, in bytes.
const BODY_ROOM_UNIT: usize = 1 << 10;

/// The room for the bodies of a port. Clones are the same room.
#[derive(Clone)]
pub struct BodyRoom(Arc<Semaphore>);

impl Default for BodyRoom {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_BODY_BYTES_AT_A_TIME / BODY_ROOM_UNIT)))
    }
}

impl BodyRoom {
    /// Takes the room of a body, before anything of it is read.
    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        // The longest body is far from the largest number.
        let units = u32::try_from(bytes.div_ceil(BODY_ROOM_UNIT)).unwrap_or(u32::MAX);
        Arc::clone(&self.0).try_acquire_many_owned(units).map_err(|_| Problem::overloaded())
    }
}

/// A body as bytes, and as what it says.
pub struct Body<T> {
    /// As they came.
    pub bytes: Bytes,
    /// The parsed fields.
    pub value: T,
    /// Held for as long as the body is kept.
    pub room: OwnedSemaphorePermit,
}

impl<S: Send + Sync, T: Fields> FromRequest<S> for Body<T>
where
    BodyRoom: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_json = kind.is_some_and(|kind| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("application/json")
        });
        let declared_empty = request.headers().get(header::CONTENT_LENGTH).is_none_or(|l| l == "0");
        // A request that does not state its length may be as long as any.
        let declared = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let longest = declared.map_or(T::MAX_BODY_BYTES, |length: usize| length.min(T::MAX_BODY_BYTES));
        let mut room = BodyRoom::from_ref(state).take(longest)?;
        let bytes = read(request, T::MAX_BODY_BYTES).await?;
        // What was kept for more than came is given back.
        if let Some(rest) = room.num_permits().checked_sub(bytes.len().div_ceil(BODY_ROOM_UNIT)) {
            drop(room.split(rest));
        }
        // A request without fields may come without a body.
        let json: &[u8] = if bytes.is_empty() && declared_empty { b"{}" } else { &bytes };
        if !bytes.is_empty() && !is_json {
            let detail = "send JSON, and say so: Content-Type: application/json";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        let value = parse(json)?;
        Ok(Self { bytes, value, room })
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

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use tokio::sync::mpsc;
    use tower::ServiceExt;

    use super::*;

    #[derive(serde::Deserialize)]
    struct Shares {}

    impl Fields for Shares {
        const MAX_BODY_BYTES: usize = MAX_BODY_WITH_SHARE_BYTES;
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_takes_its_room_before_it_is_read() {
        let (began, mut beginnings) = mpsc::unbounded_channel();
        let keep = move |body: Body<Shares>| {
            began.send(()).unwrap();
            async move {
                std::future::pending::<()>().await;
                drop(body);
            }
        };
        let router = axum::Router::new().route("/", post(keep)).with_state(BodyRoom::default());
        let send = |length: Option<usize>| {
            let mut request = Request::post("/").header(header::CONTENT_TYPE, "application/json");
            if let Some(length) = length {
                request = request.header(header::CONTENT_LENGTH, length);
            }
            router.clone().oneshot(request.body(axum::body::Body::from("{}")).unwrap())
        };
        // A handler that has its body never answers.
        let answer = |length| tokio::time::timeout(Duration::from_secs(1), send(length));
        // None says how long it is, and none comes to its end.
        let longest = MAX_BODY_BYTES_AT_A_TIME / MAX_BODY_WITH_SHARE_BYTES;
        let stalled = || {
            let never = futures::stream::pending::<Result<Bytes, std::io::Error>>();
            let request = Request::post("/").header(header::CONTENT_TYPE, "application/json");
            router.clone().oneshot(request.body(axum::body::Body::from_stream(never)).unwrap())
        };
        let reading: Vec<_> = (0..longest).map(|_| tokio::spawn(stalled())).collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        for refused in [None, Some(2)] {
            let answer = answer(refused).await.expect("no body is read where there is no room for it");
            assert_eq!(answer.unwrap().status(), 503);
        }
        reading.iter().for_each(tokio::task::JoinHandle::abort);
        for ended in reading {
            assert!(ended.await.is_err());
        }
        // What has come keeps no more than it takes.
        for length in [None, Some(2)].into_iter().cycle().take(4 * longest) {
            tokio::spawn(send(length));
            beginnings.recv().await.unwrap();
        }
    }
}
