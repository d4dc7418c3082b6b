//! `Idempotency-Key`: the same key and request give the same answer, even if this process dies in between.
//!
//! The first request with a key takes a lease on it and runs; another request with the same key waits for its answer.
//! A run that was interrupted is taken over: its ids were stored before it began, so that a key that it made is found
//! and not made again. Only successes are stored: a failed request may be made again under its key, and runs again
//! after a look at what the run before it has led to.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use quorate_backends::database::StoreError;
use quorate_control_store::{Acquisition, IdempotencyKey, IdempotentRequest};
use quorate_core::code::Code;
use quorate_net::problem::Problem;
use quorate_net::web::headers::{IDEMPOTENCY_KEY_HEADER, IDEMPOTENCY_REPLAYED_HEADER};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::lease::Lease;
use super::state::Api;
use crate::request_ids::random;
use crate::{Recovery, RequestIds};

/// The longest key, in bytes.
const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;

/// How long a request waits before it asks for the first time whether another run with its key has ended. Every
/// further wait is twice as long, up to the maximum.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(50);
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The caller in the store. All keys of the account service are one caller's: after a key was replaced, the next one
/// repeats the requests of the last.
const API_CALLER: &str = "api";

/// Identifies a request's content. Two requests with one idempotency key must have the same fingerprint.
pub(super) struct RequestFingerprint<'a> {
    pub(super) headers: &'a HeaderMap,
    /// The operation and what it is about: `sign` and the account's id.
    pub(super) operation: [&'a str; 2],
    pub(super) body: &'a [u8],
}

impl RequestFingerprint<'_> {
    fn key(&self) -> Result<Option<IdempotencyKey>, Problem> {
        let Some(value) = self.headers.get(IDEMPOTENCY_KEY_HEADER) else { return Ok(None) };
        let name = value.to_str().ok().filter(|name| (1..=MAX_IDEMPOTENCY_KEY_BYTES).contains(&name.len()));
        let detail = "Idempotency-Key: give 1 to 255 printable ASCII characters";
        let name = name.ok_or_else(|| Problem::new(Code::InvalidIdempotencyKey, detail))?;
        Ok(Some(IdempotencyKey { caller: API_CALLER.into(), name: name.into() }))
    }

    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [self.operation[0].as_bytes(), self.operation[1].as_bytes(), self.body] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// The body of a request with a user's share, without the share: it may be sealed anew for each attempt. That a share came
/// still counts.
pub(super) fn without_sealed_share(body: &[u8]) -> Result<Cow<'_, [u8]>, Problem> {
    const SHARE: &str = "user_share";
    // A body without fields may be empty.
    let Ok(mut fields) = serde_json::from_slice::<Map<String, Value>>(body) else {
        return Ok(Cow::Borrowed(body));
    };
    match fields.get_mut(SHARE) {
        Some(share) if share.is_string() => *share = Value::Bool(true),
        _ => return Ok(Cow::Borrowed(body)),
    }
    Ok(Cow::Owned(to_json(&fields)?.into_bytes()))
}

/// An operation that can be run once per idempotency key.
pub(super) trait IdempotentOperation: Send + Sync + 'static {
    /// Its answer.
    type Answer: Serialize + Send;
    /// The status of its answer.
    const STATUS: StatusCode;

    /// New ids for what it is about to make.
    fn new_ids(&self) -> Result<RequestIds, Problem>;

    /// Finds what an interrupted run has led to.
    fn recover(
        &self,
        api: &Api,
        earlier: RequestIds,
    ) -> impl Future<Output = Result<Recovery<Self::Answer>, Problem>> + Send;

    /// Adds to an answer what is never stored with it.
    fn complete(_: &Api, answer: String) -> impl Future<Output = Result<String, Problem>> + Send {
        std::future::ready(Ok(answer))
    }

    /// Runs it.
    fn run(self, api: &Api, ids: RequestIds) -> impl Future<Output = Result<Self::Answer, Problem>> + Send;
}

/// Answers a request. The operation goes on when the caller hangs up, so that its result is stored.
pub(super) async fn respond<O: IdempotentOperation>(
    api: &Api,
    fingerprint: RequestFingerprint<'_>,
    operation: O,
) -> Result<Response<Body>, Problem> {
    let (key, request) = (fingerprint.key()?, fingerprint.hash());
    let spawned = api.clone();
    let running = api.requests.spawn(async move {
        match key {
            None => run(&spawned, operation).await,
            Some(key) => run_once(&spawned, key, request, operation).await,
        }
    });
    let panicked = |error| {
        tracing::error!(%error, "request task panicked");
        Problem::internal("the request ended by a fault: the operator finds the reason in the log")
    };
    running.await.map_err(panicked)?
}

async fn run<O: IdempotentOperation>(api: &Api, operation: O) -> Result<Response<Body>, Problem> {
    let ids = operation.new_ids()?;
    let answer = operation.run(api, ids).await?;
    Ok(json(O::STATUS, O::complete(api, to_json(&answer)?).await?, false))
}

async fn run_once<O: IdempotentOperation>(
    api: &Api,
    key: IdempotencyKey,
    request: [u8; 32],
    operation: O,
) -> Result<Response<Body>, Problem> {
    let _permit = api.keyed_requests.try_acquire().map_err(|_| Problem::overloaded())?;
    let ids = operation.new_ids()?;
    let now = || api.accounts.clock().millis();
    let request = IdempotentRequest { key, request, ids: ids.to_bytes(), started: now(), owner: random()? };
    if let Some((status, answer)) = api.responses.get(&request, now()).await {
        return Ok(json(status, O::complete(api, answer).await?, true));
    }
    let earlier = match acquire(api, &request).await? {
        Turn::Run { earlier } => earlier.as_deref().and_then(RequestIds::of_earlier_run),
        Turn::Replay { status, answer } => {
            api.responses.set(&request, status, &answer, now()).await;
            let status = StatusCode::from_u16(status).unwrap_or(O::STATUS);
            return Ok(json(status, O::complete(api, answer).await?, true));
        }
    };
    // From here on the lease ends in every case: without an answer to store the key is free for the next request.
    let mut lease = Lease::new(api, request);
    match recover_or_run(api, &mut lease, ids, earlier, operation).await {
        Ok(answer) => {
            let answer = to_json(&answer)?;
            match lease.complete(O::STATUS.as_u16(), &answer).await {
                Ok(request) => api.responses.set(&request, O::STATUS.as_u16(), &answer, now()).await,
                Err(StoreError::Conflict(_)) => {
                    let detail = "another process has taken the request over: ask again under the same key";
                    return Err(Problem::new(Code::InProgress, detail));
                }
                Err(error) => return Err(error.into()),
            }
            Ok(json(O::STATUS, O::complete(api, answer).await?, false))
        }
        Err(problem) => {
            lease.release().await;
            Err(problem)
        }
    }
}

/// How a request with a key continues.
enum Turn {
    /// Run; `earlier` are the ids of a run that was interrupted.
    Run { earlier: Option<Vec<u8>> },
    /// Give the stored answer again.
    Replay { status: u16, answer: String },
}

/// Takes the lease on the key, or waits for the answer of the run that has it.
async fn acquire(api: &Api, request: &IdempotentRequest) -> Result<Turn, Problem> {
    let store = api.accounts.store();
    let until = Instant::now() + api.accounts.max_timeout();
    let mut wait = MIN_POLL_INTERVAL;
    loop {
        match store.acquire(request, api.accounts.clock().millis()).await? {
            Acquisition::Acquired { earlier } => return Ok(Turn::Run { earlier }),
            Acquisition::Completed { status, answer } => return Ok(Turn::Replay { status, answer }),
            Acquisition::Mismatch => {
                let detail = "this Idempotency-Key came with another request: use a new key for each request";
                return Err(Problem::new(Code::IdempotencyKeyReused, detail));
            }
            Acquisition::InProgress if Instant::now() >= until => {
                let detail = "the first request with this Idempotency-Key is still running: try again later";
                return Err(Problem::new(Code::InProgress, detail));
            }
            Acquisition::InProgress => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(MAX_POLL_INTERVAL);
            }
        }
    }
}

/// Runs the operation, unless an interrupted run of it has led to an answer.
async fn recover_or_run<O: IdempotentOperation>(
    api: &Api,
    lease: &mut Lease,
    ids: RequestIds,
    earlier: Option<RequestIds>,
    operation: O,
) -> Result<O::Answer, Problem> {
    let Some(earlier) = earlier else { return operation.run(api, ids).await };
    match operation.recover(api, earlier).await? {
        Recovery::Completed(answer) => Ok(answer),
        // The interrupted run may still be at work. It has the same ids, so that it can't make a second account or
        // signature.
        Recovery::Repeatable => operation.run(api, earlier).await,
        Recovery::Failed => {
            let ids = operation.new_ids()?;
            lease.rebind(ids).await?;
            operation.run(api, ids).await
        }
    }
}

fn to_json<T: Serialize>(answer: &T) -> Result<String, Problem> {
    serde_json::to_string(answer).map_err(|_| Problem::internal("the answer can't be written as JSON"))
}

fn json(status: StatusCode, text: String, replayed: bool) -> Response<Body> {
    let mut response = (status, text).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if replayed {
        headers.insert(IDEMPOTENCY_REPLAYED_HEADER, HeaderValue::from_static("true"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(json: &str) -> Vec<u8> {
        without_sealed_share(json.as_bytes()).unwrap().into_owned()
    }

    #[test]
    fn a_request_is_the_same_with_its_share_sealed_anew() {
        let first = body(r#"{"message": "00", "user_share": "aa"}"#);
        assert_eq!(first, body(r#"{"message": "00", "user_share": "bb"}"#));
        for other in [
            r#"{"message": "01", "user_share": "aa"}"#,
            r#"{"message": "00"}"#,
            r#"{"message": "00", "user_share": null}"#,
            "",
        ] {
            assert_ne!(first, body(other), "{other}");
        }
        // Without a share the bytes count as they came.
        assert_eq!(body(r#"{"message": "00" }"#), br#"{"message": "00" }"#);
    }
}
