//! A caller of the API of this machine, like any other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::Value;
use zeroize::Zeroizing;

/// Longer than any operation of the API.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    key: Zeroizing<String>,
}

/// An answer, and how long it took.
pub(super) struct Answer {
    pub(super) body: Value,
    pub(super) took: Duration,
}

/// Why a call did not do what it is for.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// No answer came, or one that is not JSON.
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

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer, CallError> {
        let no_answer = |error| CallError::NoAnswer { path: path.into(), error };
        let request = self.http.request(Method::POST, format!("{}{path}", self.base));
        let began = Instant::now();
        let request = request.header("X-API-Key", self.key.as_str()).json(body);
        let response = request.send().await.map_err(no_answer)?;
        let status = response.status();
        let body: Value = response.json().await.map_err(no_answer)?;
        let took = began.elapsed();
        if status.is_success() {
            return Ok(Answer { body, took });
        }
        let field = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        Err(CallError::Refused { path: path.into(), status, code: field("code"), detail: field("detail") })
    }
}
