//! An embedded deployment in a temporary folder, and a caller of its API.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate::config::{LimitsConfig, PluginsConfig, RatesConfig};
use quorate::roles::embedded::{Embedded, EmbeddedSetup};
use quorate_net::web::guard::{AllowedAddresses, ApiKeyHashes};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::compiled::copy_for_embedded;
use crate::components;

/// The data folder, in that of a deployment.
const DATA: &str = "data";

/// The key of every deployment.
pub const KEY: &str = "correct horse battery staple";

/// The key of users' backends, at party APIs.
pub const SHARES_KEY: &str = "another key: of users' backends";

/// The key of operators, at coordinators.
pub const OPERATOR_KEY: &str = "a third key: of operators";

/// A running deployment; its folder goes with it.
pub struct Deployment {
    embedded: Option<Embedded>,
    caller: Caller,
    folder: TempDir,
    parties: u16,
    components: Vec<PathBuf>,
    /// How long its operations may take.
    pub limits: LimitsConfig,
}

/// Calls an API.
#[derive(Clone)]
pub struct Caller {
    http: reqwest::Client,
    base: String,
    key: &'static str,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, `null` if it is no JSON.
    pub body: Value,
}

impl Reply {
    /// A field of the body, as text.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_default()
    }

    /// The signature of one of the items that were asked for, like the answer to a request for it alone.
    #[must_use]
    pub fn item(&self, number: usize) -> Self {
        let body = self.body["signatures"][number].clone();
        Self { status: self.status, headers: self.headers.clone(), body }
    }

    /// The reply, if it is a success.
    #[must_use]
    pub fn good(self) -> Self {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.body);
        self
    }
}

impl Caller {
    /// Calls the API at this address.
    #[must_use]
    pub fn new(address: std::net::SocketAddr) -> Self {
        quorate_net::tls::install();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(300)).build().unwrap();
        Self { http, base: format!("http://{address}"), key: KEY }
    }

    /// Presents another key.
    #[must_use]
    pub fn with_key(self, key: &'static str) -> Self {
        Self { key, ..self }
    }

    /// A request without a key.
    pub fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// A request with the key.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).header("X-API-Key", self.key)
    }

    /// GETs what is at a path.
    pub async fn get(&self, path: &str) -> Reply {
        send(self.request(Method::GET, path)).await
    }

    /// POSTs a body to a path.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        send(self.request(Method::POST, path).json(body)).await
    }

    /// Creates an account, and gives its id.
    pub async fn create(&self) -> String {
        let reply = self.post("/api/v1/accounts", &json!({ "user_id": "user123" })).await.good();
        reply.text("id").to_owned()
    }

    /// Signs a digest.
    pub async fn sign(&self, account: &str, digest: [u8; 32]) -> Reply {
        let path = format!("/api/v1/accounts/{account}/sign");
        self.post(&path, &json!({ "message": hex::encode(digest) })).await
    }
}

/// Sends a request.
pub async fn send(request: RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.json().await.unwrap_or(Value::Null);
    Reply { status, headers, body }
}

/// Sends a request to a process that may be gone before the answer.
pub async fn try_send(request: RequestBuilder) -> Option<Reply> {
    let response = request.timeout(Duration::from_secs(90)).send().await.ok()?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.json().await.ok()?;
    Some(Reply { status, headers, body })
}

impl Deployment {
    /// Starts with the dkls23 component.
    pub async fn start(parties: u16) -> Self {
        Self::start_with(parties, LimitsConfig::default()).await
    }

    /// Starts with other time limits.
    pub async fn start_with(parties: u16, limits: LimitsConfig) -> Self {
        Self::start_components(parties, limits, &["dkls23"]).await
    }

    /// Starts with these components.
    pub async fn start_components(parties: u16, limits: LimitsConfig, names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let component = |name: &&str| components::folder().join(format!("{name}.wasm"));
        let components: Vec<PathBuf> = names.iter().map(component).collect();
        copy_for_embedded(&components, parties, &folder.path().join(DATA));
        let embedded = embedded(&folder.path().join(DATA), parties, limits, &components).await;
        let caller = Caller::new(embedded.address());
        Self { embedded: Some(embedded), caller, folder, parties, components, limits }
    }

    /// Stops, and starts again on the same data.
    pub async fn restart(&mut self) {
        self.stop().await;
        let embedded = embedded(&self.folder(), self.parties, self.limits, &self.components).await;
        self.caller = Caller::new(embedded.address());
        self.embedded = Some(embedded);
    }

    /// Stops.
    pub async fn stop(&mut self) {
        if let Some(embedded) = self.embedded.take() {
            embedded.stop().await;
        }
    }

    /// The running deployment.
    #[must_use]
    pub fn embedded(&self) -> &Embedded {
        self.embedded.as_ref().unwrap()
    }

    /// The caller.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Where its data are.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join(DATA)
    }
}

async fn embedded(data: &Path, parties: u16, limits: LimitsConfig, components: &[PathBuf]) -> Embedded {
    let embedded = Embedded::start(EmbeddedSetup {
        plugin_policy: PluginsConfig::default(),
        data: data.to_owned(),
        parties,
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        keys: ApiKeyHashes::of_keys([KEY]).unwrap(),
        allowed: AllowedAddresses::default(),
        rates: RatesConfig::default(),
        proxies: AllowedAddresses::default(),
        limits,
        plugins: components.to_vec(),
    });
    embedded.await.unwrap()
}
