//! A caller of the API of this machine, like any other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::Value;
use zeroize::Zeroizing;

/// Longer than any operation of the API.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// The most characters of an answer that an error shows.
const MAX_EXCERPT_CHARACTERS: usize = 200;

pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    key: Zeroizing<String>,
}

/// An answer, and how long it took.
pub(super) struct ApiAnswer {
    pub(super) body: Value,
    pub(super) took: Duration,
}

/// Why a call did not do what it is for.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// No answer came.
    #[error("POST {path} was not answered")]
    NoAnswer {
        path: String,
        #[source]
        error: reqwest::Error,
    },
    /// The API answered with an error.
    #[error("POST {path} was answered with {status}: {code}: {detail}")]
    Refused { path: String, status: StatusCode, code: String, detail: String },
}

impl Client {
    pub(super) fn new(address: SocketAddr, key: &str) -> reqwest::Result<Self> {
        // The API is on this machine: a proxy of the environment would be given the key.
        let http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).no_proxy().build()?;
        Ok(Self { http, base: format!("http://{address}/api/v1"), key: Zeroizing::new(key.into()) })
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<ApiAnswer, CallError> {
        let no_answer = |error| CallError::NoAnswer { path: path.into(), error };
        let request = self.http.request(Method::POST, format!("{}{path}", self.base));
        let began = Instant::now();
        let request = request.header("X-API-Key", self.key.as_str()).json(body);
        let response = request.send().await.map_err(no_answer)?;
        let status = response.status();
        let text = response.text().await.map_err(no_answer)?;
        let took = began.elapsed();
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(ApiAnswer { body, took });
        }
        let field = |name: &str| body[name].as_str().map(str::to_owned);
        // Another program answers, a proxy perhaps.
        let excerpt = || text.chars().take(MAX_EXCERPT_CHARACTERS).collect();
        let code = field("code").unwrap_or_else(|| "no problem document".into());
        Err(CallError::Refused {
            path: path.into(),
            status,
            code,
            detail: field("detail").unwrap_or_else(excerpt),
        })
    }
}
