//! How many requests a caller may make in a minute, with one key or for one account. All replicas count together, in the cache;
//! while it does not answer, each counts for itself.
//!
//! What is left is told in the headers of the IETF's draft (draft-ietf-httpapi-ratelimit-headers).

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawPathParams, Request, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use quorate_backends::cache::Cache;
use quorate_core::AccountId;
use quorate_core::code::Code;

use crate::clock::Clock;
use crate::problem::Problem;

/// How long requests are counted together, in seconds.
const WINDOW_SECONDS: u64 = 60;

/// What a limit is, and what is left of it.
const POLICY_HEADER: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT_HEADER: HeaderName = HeaderName::from_static("ratelimit");

/// A limit of requests. Clones count together.
#[derive(Clone)]
pub struct RequestRate(Option<Arc<Limit>>);

struct Limit {
    /// What is counted: a word for headers and for names in the cache.
    of: &'static str,
    at_most: NonZeroU32,
    shared: Option<Arc<dyn Cache>>,
    local: Mutex<LocalCounts>,
    clock: Arc<dyn Clock>,
}

/// The counts of this process alone, of one window.
#[derive(Default)]
struct LocalCounts {
    window: u64,
    counts: HashMap<String, u64>,
}

/// The most callers that a process counts by itself in a window. When it counts so many, it refuses each further one:
/// none makes room for another.
const MAX_LOCAL_CALLERS: usize = 100_000;

impl LocalCounts {
    fn count(&mut self, caller: &str, window: u64) -> u64 {
        if self.window != window {
            *self = Self { window, counts: HashMap::new() };
        }
        if self.counts.len() >= MAX_LOCAL_CALLERS && !self.counts.contains_key(caller) {
            return u64::MAX;
        }
        let count = self.counts.entry(caller.to_owned()).or_default();
        *count += 1;
        *count
    }
}

/// How a caller stands after a request was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    of: &'static str,
    at_most: u32,
    /// How many more there may be; `None` if this was one too many.
    left: Option<u64>,
    /// When counting starts anew.
    seconds: u64,
}

impl RequestRate {
    /// No limit.
    #[must_use]
    pub fn unlimited() -> Self {
        Self(None)
    }

    /// So many requests in a minute, for each caller `of` a kind; 0: as many as come. Replicas with the same cache count together.
    #[must_use]
    pub fn new(
        of: &'static str,
        at_most: u32,
        shared: Option<Arc<dyn Cache>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let limit = |at_most| Arc::new(Limit { of, at_most, shared, local: Mutex::default(), clock });
        Self(NonZeroU32::new(at_most).map(limit))
    }

    /// Counts a request of a caller; `None` without a limit.
    pub(super) async fn count(&self, caller: &str) -> Option<Standing> {
        let Limit { of, at_most, shared, local, clock } = &**self.0.as_ref()?;
        let now = clock.seconds().0;
        let name = format!("rate.{of}.{caller}.{}", now / WINDOW_SECONDS);
        // Longer than the window: clocks of replicas differ.
        let kept = Duration::from_secs(2 * WINDOW_SECONDS);
        let counted = match shared {
            Some(shared) => shared.count(&name, kept).await.ok(),
            None => None,
        };
        let count = match counted {
            Some(count) => count,
            None => local.lock().count(caller, now / WINDOW_SECONDS),
        };
        let left = u64::from(at_most.get()).checked_sub(count);
        Some(Standing { of, at_most: at_most.get(), left, seconds: WINDOW_SECONDS - now % WINDOW_SECONDS })
    }
}

impl std::fmt::Debug for RequestRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            None => f.write_str("RequestRate(unlimited)"),
            Some(limit) => write!(f, "RequestRate({} of each {} in a minute)", limit.at_most, limit.of),
        }
    }
}

impl Standing {
    fn tell(&self, headers: &mut HeaderMap) {
        let Self { of, at_most, left, seconds } = self;
        let texts = [
            (POLICY_HEADER, format!("\"{of}\";q={at_most};w={WINDOW_SECONDS}")),
            (LEFT_HEADER, format!("\"{of}\";r={};t={seconds}", left.unwrap_or(0))),
        ];
        for (name, text) in texts {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.append(name, value);
            }
        }
    }
}

/// Goes on with a request, unless it is one too many.
pub(super) async fn run(standing: Option<Standing>, request: Request, next: Next) -> Response {
    let Some(standing) = standing else { return next.run(request).await };
    if standing.left.is_some() {
        let mut response = next.run(request).await;
        standing.tell(response.headers_mut());
        return response;
    }
    let detail = format!(
        "more than {} requests of this {} came within the minute: send fewer, and repeat this one after Retry-After",
        standing.at_most, standing.of
    );
    let mut response = Problem::new(Code::TooManyRequests, detail).into_response();
    standing.tell(response.headers_mut());
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(standing.seconds));
    response
}

/// Limits what is asked of one account: requests that change or use it, by the `id` in their path.
pub async fn limit_account(
    State(rate): State<RequestRate>,
    parameters: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let id = parameters.iter().find(|(name, _)| *name == "id").map(|(_, id)| id);
    // An id can be written in several ways. What is none is refused behind this.
    let account = id.and_then(|id| id.parse::<AccountId>().ok());
    let standing = match account.filter(|_| request.method() == Method::POST) {
        Some(account) => rate.count(&account.to_string()).await,
        None => None,
    };
    run(standing, request, next).await
}

#[cfg(test)]
mod tests {
    use axum::middleware::from_fn_with_state;
    use axum::routing::post;
    use quorate_backends::cache::MemoryCache;
    use quorate_core::UnixMillis;
    use tower::ServiceExt;

    use super::*;

    #[derive(Default)]
    struct SetClock(Mutex<UnixMillis>);

    impl Clock for SetClock {
        fn millis(&self) -> UnixMillis {
            *self.0.lock()
        }
    }

    #[tokio::test]
    async fn requests_beyond_a_limit_wait_for_the_next_minute() {
        let clock = Arc::new(SetClock::default());
        *clock.0.lock() = UnixMillis(600_000 + 45_000);
        let cache: Arc<dyn Cache> = Arc::new(MemoryCache::default());
        // Two replicas.
        let rates = [0, 1].map(|_| RequestRate::new("key", 3, Some(Arc::clone(&cache)), clock.clone()));
        for (replica, left) in [(0, Some(2)), (1, Some(1)), (0, Some(0)), (1, None), (0, None)] {
            let standing = rates[replica].count("a").await.unwrap();
            assert_eq!((standing.left, standing.seconds), (left, 15));
        }
        assert_eq!(rates[0].count("b").await.unwrap().left, Some(2), "another caller has no requests");
        *clock.0.lock() = UnixMillis(660_000);
        assert_eq!(rates[1].count("a").await.unwrap().left, Some(2));
        assert_eq!(RequestRate::new("key", 0, None, clock.clone()).count("a").await, None);
        // Without a cache that answers, each counts for itself.
        let alone = RequestRate::new("key", 1, None, clock);
        assert_eq!(alone.count("a").await.unwrap().left, Some(0));
        assert_eq!(alone.count("a").await.unwrap().left, None);
        // Others in great number do not make it forgotten.
        for other in 0..2_000 {
            alone.count(&other.to_string()).await.unwrap();
        }
        assert_eq!(alone.count("a").await.unwrap().left, None);
    }

    #[tokio::test]
    async fn an_account_is_limited_by_its_id_and_told_what_is_left() {
        const ID: &str = "0000000a-0000-4000-8000-000000000001";
        let clock = Arc::new(SetClock::default());
        let rate = RequestRate::new("account", 1, None, clock);
        let router = axum::Router::new()
            .route("/accounts/{id}/sign", post(|| async { "signed" }).get(|| async { "read" }));
        let router = router.route_layer(from_fn_with_state(rate, limit_account));
        let send = |method: Method, id: &str| {
            let request = Request::builder().method(method).uri(format!("/accounts/{id}/sign"));
            router.clone().oneshot(request.body(axum::body::Body::empty()).unwrap())
        };
        let first = send(Method::POST, ID).await.unwrap();
        assert_eq!(
            (first.status().as_u16(), &first.headers()["ratelimit"]),
            (200, &HeaderValue::from_static("\"account\";r=0;t=60"))
        );
        assert_eq!(first.headers()["ratelimit-policy"], "\"account\";q=1;w=60");
        let second = send(Method::POST, &ID.replace('-', "")).await.unwrap();
        assert_eq!(
            (second.status().as_u16(), &second.headers()["retry-after"]),
            (429, &HeaderValue::from_static("60"))
        );
        assert_eq!(send(Method::GET, ID).await.unwrap().status(), 200);
        assert_eq!(send(Method::POST, "00000000-0000-4000-8000-000000000002").await.unwrap().status(), 200);
    }
}
