//! `Idempotency-Key`: the same key and request give the same answer, even if this process dies in between.
//!
//! The first request with a key runs; whoever comes with the same one meanwhile waits for its answer. A run that was
//! interrupted is taken over: what it was about was stored before it began, so that a key that was made is found and
//! not made again. Only successes are kept: a request that failed may be made again under its key, and is then run again
//! after a look at what the run before it has led to.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use quorate_backends::database::StoreError;
use quorate_control_store::{AccountStore, Acquisition, IdempotencyKey, IdempotentRequest, LEASE_DURATION};
use quorate_core::code::Code;
use quorate_net::problem::Problem;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Api;
use crate::{Interrupted, Subject, random};

/// The header that carries the key.
const KEY: &str = "idempotency-key";

/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The longest key, in bytes.
const LONGEST: usize = 255;

/// How long a request waits before it looks for the first time whether the run that it waits for is over; each further
/// wait is longer, up to the second.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// Requests with a key at a time, those that wait for another's run among them.
pub(super) const WAITING: usize = 512;

/// What a request is, apart from its key: the same key must come with the same of it.
pub(super) struct Asked<'a> {
    pub(super) headers: &'a HeaderMap,
    /// The operation and what it is about: `sign` and the account's id.
    pub(super) operation: [&'a str; 2],
    pub(super) body: &'a [u8],
}

impl Asked<'_> {
    fn key(&self, api: &Api) -> Result<Option<IdempotencyKey>, Problem> {
        let Some(value) = self.headers.get(KEY) else { return Ok(None) };
        let name = value.to_str().ok().filter(|name| (1..=LONGEST).contains(&name.len()));
        let detail = "Idempotency-Key: give 1 to 255 printable ASCII characters";
        let name = name.ok_or_else(|| Problem::new(Code::InvalidIdempotencyKey, detail))?;
        Ok(Some(IdempotencyKey { caller: api.guard.caller_name(), name: name.into() }))
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

/// An operation: what it does anew, and how to find what an interrupted run of it has led to.
pub(super) trait Operation: Send + 'static {
    /// Its answer.
    type Answer: Serialize + Send;
    /// The status of its answer.
    const STATUS: StatusCode;

    /// Ids for what it is about to make.
    fn subject(&self, api: &Api) -> Result<Subject, Problem>;

    /// What an interrupted run has led to.
    fn find(
        &self,
        api: &Api,
        earlier: Subject,
    ) -> impl Future<Output = Result<Interrupted<Self::Answer>, Problem>> + Send;

    /// Adds to an answer what is never kept with it.
    fn complete(_: &Api, answer: String) -> impl Future<Output = Result<String, Problem>> + Send {
        std::future::ready(Ok(answer))
    }

    /// Does it.
    fn run(self, api: &Api, subject: Subject) -> impl Future<Output = Result<Self::Answer, Problem>> + Send;
}

/// Answers a request. It goes on when the caller hangs up: what it makes is not lost.
pub(super) async fn answer<O: Operation>(
    api: &Api,
    asked: Asked<'_>,
    operation: O,
) -> Result<Response<Body>, Problem> {
    let (key, request) = (asked.key(api)?, asked.hash());
    let spawned = Arc::clone(&api.0);
    let answering = api.requests.spawn(async move {
        let api = Api(spawned);
        match key {
            None => run(&api, operation).await,
            Some(key) => run_once(&api, key, request, operation).await,
        }
    });
    let died = |error| {
        tracing::error!(%error, "a request died");
        Problem::new(Code::Internal, "the request died: the operator finds the reason in the log")
    };
    answering.await.map_err(died)?
}

async fn run<O: Operation>(api: &Api, operation: O) -> Result<Response<Body>, Problem> {
    let subject = operation.subject(api)?;
    let answer = operation.run(api, subject).await?;
    Ok(json(O::STATUS, O::complete(api, text(&answer)?).await?, false))
}

async fn run_once<O: Operation>(
    api: &Api,
    key: IdempotencyKey,
    request: [u8; 32],
    operation: O,
) -> Result<Response<Body>, Problem> {
    let overloaded =
        |_| Problem::new(Code::Overloaded, "too many requests are being worked on: try again later");
    let _slot = api.waiting.try_acquire().map_err(overloaded)?;
    let store = api.accounts.store().clone();
    let mut subject = operation.subject(api)?;
    let mut run = IdempotentRequest { key, request, ids: subject.bytes(), owner: random()? };
    if let Some((status, answer)) = api.answers.recall(&run).await {
        return Ok(json(status, O::complete(api, answer).await?, true));
    }
    let mut wait = LOOK_AGAIN[0];
    let patience = tokio::time::Instant::now() + api.accounts.longest();
    let earlier = loop {
        match store.acquire(&run, api.accounts.clock().millis()).await? {
            Acquisition::Acquired { earlier } => break earlier,
            Acquisition::Completed { status, answer } => {
                api.answers.remember(&run, status, &answer).await;
                let status = StatusCode::from_u16(status).unwrap_or(O::STATUS);
                return Ok(json(status, O::complete(api, answer).await?, true));
            }
            Acquisition::Mismatch => {
                let detail = "this Idempotency-Key came with another request: use a new key for each request";
                return Err(Problem::new(Code::IdempotencyKeyReused, detail));
            }
            Acquisition::InProgress if tokio::time::Instant::now() >= patience => {
                let detail = "the first request with this Idempotency-Key is still running: try again later";
                return Err(Problem::new(Code::InProgress, detail));
            }
            Acquisition::InProgress => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LOOK_AGAIN[1]);
            }
        }
    };
    // Whatever happens from here on: if there is no answer to keep, the key is free for the next one.
    let mut held = Held::new(api, run.clone());
    let found = match earlier.as_deref().and_then(Subject::read) {
        Some(earlier) => {
            subject = earlier;
            operation.find(api, earlier).await
        }
        None => Ok(Interrupted::Nothing),
    };
    let answer = match found {
        Ok(Interrupted::Answer(found)) => Ok(found),
        // What the interrupted run may still do is about the same ids: it can't make a second account or signature.
        Ok(Interrupted::Nothing) => operation.run(api, subject).await,
        Ok(Interrupted::Failed) => {
            subject = operation.subject(api)?;
            run.ids = subject.bytes();
            store.rebind(&run).await?;
            operation.run(api, subject).await
        }
        Err(problem) => Err(problem),
    };
    match answer {
        Ok(answer) => {
            let answer = text(&answer)?;
            match store.complete(&run, O::STATUS.as_u16(), &answer).await {
                Ok(()) => held.run = None,
                Err(StoreError::Conflict(_)) => {
                    held.run = None;
                    let detail = "another process has taken the request over: ask again under the same key";
                    return Err(Problem::new(Code::InProgress, detail));
                }
                Err(error) => return Err(error.into()),
            }
            api.answers.remember(&run, O::STATUS.as_u16(), &answer).await;
            Ok(json(O::STATUS, O::complete(api, answer).await?, false))
        }
        Err(problem) => {
            // Whoever asks again runs it again, after a look at what this run has led to.
            held.give_up().await;
            Err(problem)
        }
    }
}

/// A run that has no answer yet. It says regularly that it is still there; dropped, it is given up.
struct Held {
    store: AccountStore,
    run: Option<IdempotentRequest>,
    holding: tokio::task::JoinHandle<()>,
}

impl Held {
    fn new(api: &Api, run: IdempotentRequest) -> Self {
        let (api, held) = (api.clone(), run.clone());
        let store = api.accounts.store().clone();
        let holding = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(LEASE_DURATION / 4)).await;
                if let Err(error) = api.accounts.store().renew(&held, api.accounts.clock().millis()).await {
                    tracing::warn!(%error, "an idempotency key could not be held");
                }
            }
        });
        Self { store, run: Some(run), holding }
    }

    async fn give_up(&mut self) {
        if let Some(run) = self.run.take() {
            give_up(&self.store, &run).await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.holding.abort();
        if let Some(run) = self.run.take() {
            let store = self.store.clone();
            tokio::spawn(async move { give_up(&store, &run).await });
        }
    }
}

async fn give_up(store: &AccountStore, run: &IdempotentRequest) {
    if let Err(error) = store.release(run).await {
        tracing::error!(%error, "an idempotency key stays held for a while");
    }
}

fn text<T: Serialize>(answer: &T) -> Result<String, Problem> {
    serde_json::to_string(answer).map_err(|_| Problem::new(Code::Internal, "an answer that is no JSON"))
}

fn json(status: StatusCode, text: String, replayed: bool) -> Response<Body> {
    let mut response = (status, text).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
