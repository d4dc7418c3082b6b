//! A caller of the API, like any other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use crate::cli::Failure;

/// Longer than any operation of the demo.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    key: String,
}

/// An answer, and how long it took.
pub(super) struct Answer {
    pub(super) body: Value,
    pub(super) took: Duration,
}

impl Client {
    pub(super) fn new(address: SocketAddr, key: &str) -> Result<Self, Failure> {
        let http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build()?;
        Ok(Self { http, base: format!("http://{address}/api/v1"), key: key.into() })
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        let request = self.http.request(Method::POST, format!("{}{path}", self.base));
        let began = Instant::now();
        let response = request.header("X-API-Key", &self.key).json(body).send().await?;
        let status = response.status();
        let body: Value = response.json().await?;
        let took = began.elapsed();
        if status.is_success() {
            Ok(Answer { body, took })
        } else {
            let field = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            Err(format!("POST {path} was answered with {status}: {}: {}", field("code"), field("detail"))
                .into())
        }
    }
}
