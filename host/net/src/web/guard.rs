//! Checks callers: by address first, then by key.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use quorate_core::code::Code;

use super::api_keys::KeyName;
pub use super::api_keys::{ApiKeyHashes, InvalidApiKeys};
pub use super::failed_keys::FailedKeys;
use super::headers::{API_KEY_HEADER, FORWARDED_FOR_HEADER};
use super::rates::{self, RequestRate};
use crate::listener::Peer;
use crate::problem::Problem;
use crate::server::Caller;

/// Addresses that may call. With none listed, all may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedAddresses(Vec<IpNet>);

/// A list of addresses that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an IP address nor a range like 10.0.0.0/8")]
pub struct InvalidAddress(String);

impl std::str::FromStr for AllowedAddresses {
    type Err = InvalidAddress;

    /// Addresses and ranges, separated by commas.
    fn from_str(list: &str) -> Result<Self, InvalidAddress> {
        let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
        let ranges = items.map(|item| {
            let range = item.parse::<IpNet>().or_else(|_| item.parse::<IpAddr>().map(IpNet::from));
            range.map_err(|_| InvalidAddress(item.into()))
        });
        let ranges = Self(ranges.collect::<Result<_, _>>()?);
        // A list that is malformed must not count as an empty one, which allows all addresses.
        if ranges.0.is_empty() && !list.is_empty() {
            return Err(InvalidAddress(list.into()));
        }
        Ok(ranges)
    }
}

impl AllowedAddresses {
    /// Whether any is listed.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        !self.0.is_empty()
    }

    fn allow(&self, peer: Peer) -> bool {
        self.0.is_empty() || peer.0.is_some_and(|address| self.0.iter().any(|range| range.contains(&address)))
    }
}

/// The callers that are allowed.
#[derive(Clone, Debug)]
pub struct Guard {
    /// The keys that callers present; without any no call is allowed.
    pub keys: Option<ApiKeyHashes>,
    /// The setting that names them, for whoever has to act.
    pub keys_setting: &'static str,
    /// The addresses that they may call from.
    pub allowed: AllowedAddresses,
    /// Proxies whose `X-Forwarded-For` is accepted.
    pub proxies: AllowedAddresses,
    /// Who has tried wrong keys.
    pub failed: FailedKeys,
    /// How many requests may come with one key.
    pub rate: RequestRate,
}

/// Why a call is not let through, and when another may be.
struct NotAllowed {
    problem: Problem,
    after: Option<Duration>,
}

impl From<Problem> for NotAllowed {
    fn from(problem: Problem) -> Self {
        Self { problem, after: None }
    }
}

impl Guard {
    /// Where a call comes from: what the nearest proxy says that is not trusted itself.
    fn caller(&self, peer: Peer, headers: &HeaderMap) -> Peer {
        let mut caller = peer;
        // A header line that is not text has a place in the chain too: the address behind it is unknown.
        let named =
            headers.get_all(FORWARDED_FOR_HEADER).iter().map(|value| value.to_str().unwrap_or("unreadable"));
        let mut chain: Vec<&str> = named.flat_map(|value| value.split(',')).map(str::trim).collect();
        while !self.proxies.0.is_empty() && self.proxies.allow(caller) {
            let Some(before) = chain.pop() else { break };
            // An entry that is not an IP address matches no allowed range.
            caller = Peer(before.parse().ok().map(|address: IpAddr| address.to_canonical()));
        }
        caller
    }

    /// Lets a caller through, by a name for its key that does not tell the key.
    fn check(&self, peer: Peer, headers: &HeaderMap) -> Result<KeyName, NotAllowed> {
        let caller = self.caller(peer, headers);
        if !self.allowed.allow(caller) {
            let detail = "your address is not in ALLOWED_IPS of this deployment: ask its operator";
            return Err(Problem::new(Code::AddressNotAllowed, detail).into());
        }
        // Before the key is compared: otherwise the right one would still be found.
        if let Some(after) = self.failed.stopped(caller) {
            let detail = "too many wrong keys came from your address in the last minute: find out who sends them, and wait";
            let problem = Problem::new(Code::TooManyFailedKeys, detail);
            return Err(NotAllowed { problem, after: Some(after) });
        }
        let unauthorized = |detail: &str| Err(NotAllowed::from(Problem::new(Code::Unauthorized, detail)));
        match (&self.keys, headers.get(API_KEY_HEADER)) {
            (Some(keys), Some(presented)) => match keys.recognise(presented.as_bytes()) {
                Some(name) => Ok(name),
                None => {
                    self.failed.note(caller);
                    unauthorized("the key in X-API-Key is wrong")
                }
            },
            (Some(_), None) => unauthorized("send your API key in the header X-API-Key"),
            (None, _) => {
                unauthorized(&format!("this process was given no {}: ask its operator", self.keys_setting))
            }
        }
    }
}

/// Lets through who may call.
pub async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer(None));
    match guard.check(peer, request.headers()) {
        Ok(key) => {
            if let Some(caller) = request.extensions().get::<Caller>() {
                caller.mark_known();
            }
            rates::run(guard.rate.count(key.as_str()).await, request, next).await
        }
        Err(NotAllowed { problem, after }) => {
            let mut response = problem.into_response();
            if let Some(after) = after {
                // The whole second after it.
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.as_secs() + 1));
            }
            response
        }
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
    fn only_a_trusted_proxy_says_where_a_call_comes_from() {
        let guard = Guard {
            keys: None,
            keys_setting: "MPC_API_KEY",
            allowed: AllowedAddresses::default(),
            proxies: "10.0.0.0/8".parse().unwrap(),
            failed: FailedKeys::new(0),
            rate: RequestRate::unlimited(),
        };
        let peer = |address: &str| Peer(Some(address.parse().unwrap()));
        for (from, forwarded, caller) in [
            ("192.0.2.1", "198.51.100.1", Some("192.0.2.1")),
            ("10.0.0.1", "198.51.100.1", Some("198.51.100.1")),
            // Entries that a caller has written itself stand further left.
            ("10.0.0.1", "203.0.113.7, 198.51.100.1, 10.0.0.2", Some("198.51.100.1")),
            ("10.0.0.1", "nonsense", None),
            ("10.0.0.1", "", None),
            ("10.0.0.1", "\u{ff}, 198.51.100.1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(FORWARDED_FOR_HEADER, HeaderValue::from_bytes(forwarded.as_bytes()).unwrap());
            let caller: Option<IpAddr> = caller.map(|address| address.parse().unwrap());
            assert_eq!(guard.caller(peer(from), &headers).0, caller, "{from}: {forwarded}");
        }
        assert_eq!(guard.caller(peer("10.0.0.1"), &HeaderMap::new()).0, peer("10.0.0.1").0);
    }

    #[tokio::test(start_paused = true)]
    async fn no_key_is_compared_for_an_address_that_has_tried_too_many() {
        let guard = Guard {
            keys: Some(ApiKeyHashes::of_list("the right key of this port").unwrap()),
            keys_setting: "MPC_API_KEY",
            allowed: AllowedAddresses::default(),
            proxies: AllowedAddresses::default(),
            failed: FailedKeys::new(2),
            rate: RequestRate::unlimited(),
        };
        let check = |address: &str, key: &'static str| {
            let headers = HeaderMap::from_iter([(API_KEY_HEADER, HeaderValue::from_static(key))]);
            let checked = guard.check(Peer(Some(address.parse().unwrap())), &headers);
            checked.map(drop).map_err(|refused| (refused.problem.code, refused.after.is_some()))
        };
        let (right, wrong) = ("the right key of this port", "another key");
        assert_eq!(check("192.0.2.1", right), Ok(()));
        for _ in 0..2 {
            assert_eq!(check("192.0.2.1", wrong), Err((Code::Unauthorized, false)));
        }
        for key in [wrong, right] {
            assert_eq!(check("192.0.2.1", key), Err((Code::TooManyFailedKeys, true)));
        }
        assert_eq!(check("192.0.2.2", right), Ok(()), "another address is stopped too");
        // Without a key nothing was tried.
        for _ in 0..3 {
            let nothing = guard.check(Peer(Some("192.0.2.3".parse().unwrap())), &HeaderMap::new());
            assert_eq!(nothing.map(drop).map_err(|refused| refused.problem.code), Err(Code::Unauthorized));
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(check("192.0.2.1", right), Ok(()));
    }
}
