//! Who may call: by address first, then by key.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Api;
use super::serve::Peer;
use crate::code::Code;
use crate::problem::Problem;

/// The header that carries the key.
pub(super) const API_KEY: &str = "x-api-key";

/// The API key, as its hash: it is compared in constant time and can't be shown.
#[derive(Clone)]
pub struct ApiKey([u8; 32]);

impl ApiKey {
    /// The shortest key that is taken, in characters.
    pub const SHORTEST: usize = 16;

    /// A key; `None` if it is too short to be one.
    #[must_use]
    pub fn new(key: &str) -> Option<Self> {
        (key.len() >= Self::SHORTEST).then(|| Self(Sha256::digest(key.as_bytes()).into()))
    }

    fn is(&self, presented: &[u8]) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        self.0.ct_eq(&presented).into()
    }

    /// Tells callers apart in the store without naming their keys.
    pub(super) fn caller(&self) -> String {
        hex::encode(Sha256::digest(self.0))
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey")
    }
}

/// Addresses that may call. With none listed, all may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedAddresses(Vec<IpNet>);

/// A list of addresses that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no IP address and no range like 10.0.0.0/8")]
pub struct NoAddress(String);

impl std::str::FromStr for AllowedAddresses {
    type Err = NoAddress;

    /// Addresses and ranges, separated by commas.
    fn from_str(list: &str) -> Result<Self, NoAddress> {
        let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
        let ranges = items.map(|item| {
            let range = item.parse::<IpNet>().or_else(|_| item.parse::<std::net::IpAddr>().map(IpNet::from));
            range.map_err(|_| NoAddress(item.into()))
        });
        let ranges = Self(ranges.collect::<Result<_, _>>()?);
        // A list that was meant to let somebody in must not let in everybody.
        if ranges.0.is_empty() && !list.is_empty() {
            return Err(NoAddress(list.into()));
        }
        Ok(ranges)
    }
}

impl AllowedAddresses {
    fn allow(&self, peer: Peer) -> bool {
        self.0.is_empty() || peer.0.is_some_and(|address| self.0.iter().any(|range| range.contains(&address)))
    }
}

/// Lets through who may call.
pub(super) async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer(None));
    if !api.allowed.allow(peer) {
        let detail = "your address is not in ALLOWED_IPS of this deployment: ask its operator";
        return Problem::new(Code::AddressNotAllowed, detail).into_response();
    }
    match request.headers().get(API_KEY) {
        Some(key) if api.key.is(key.as_bytes()) => next.run(request).await,
        Some(_) => Problem::new(Code::Unauthorized, "the key in X-API-Key is wrong").into_response(),
        None => Problem::new(Code::Unauthorized, "send your API key in the header X-API-Key").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_allowed_by_list_and_range() {
        let peer = |address: &str| Peer(Some(address.parse().unwrap()));
        let list: AllowedAddresses = " 127.0.0.1, 10.0.0.0/8,::1 ".parse().unwrap();
        for (address, allowed) in
            [("127.0.0.1", true), ("10.9.8.7", true), ("::1", true), ("127.0.0.2", false), ("::2", false)]
        {
            assert_eq!(list.allow(peer(address)), allowed, "{address}");
        }
        assert!(!list.allow(Peer(None)));
        assert!("".parse::<AllowedAddresses>().unwrap().allow(peer("192.0.2.1")));
        for bad in ["localhost", ",", " "] {
            assert!(bad.parse::<AllowedAddresses>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_recognised_and_never_shown() {
        let key = ApiKey::new("correct horse battery").unwrap();
        assert!(key.is(b"correct horse battery") && !key.is(b"correct horse batterz"));
        assert_eq!(format!("{key:?}"), "ApiKey");
        assert!(ApiKey::new("short").is_none());
    }
}
