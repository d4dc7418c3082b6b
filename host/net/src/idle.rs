//! What a connection is doing, and when it ends: because nothing happens on it, or because one request never ends.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use parking_lot::{Mutex, MutexGuard};
use quorate_core::order::MAX_ORDER_LIFETIME;
use tokio::time::Instant;

/// How long a client may take to send its headers.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection from outside may be without a request.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How often a connection is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a request may be under way: nothing takes longer than an order lives, and what comes after. A client that
/// has not read its answer by then never will.
pub(crate) const MAX_REQUEST_DURATION: Duration = MAX_ORDER_LIFETIME.saturating_add(Duration::from_secs(300));

/// The requests of strangers that are under way at a port.
#[derive(Default)]
pub(crate) struct StrangerRequests {
    /// How many there are.
    pub(crate) under_way: AtomicUsize,
    /// How many of them are on connections that stay open.
    pub(crate) to_stay: AtomicUsize,
}

/// The requests on a connection, and whether its caller is known.
pub(crate) struct Activity {
    requests: Mutex<Requests>,
    of_strangers: Arc<StrangerRequests>,
}

struct Requests {
    /// When those that are under way began, by their numbers.
    under_way: BTreeMap<u64, Instant>,
    /// How many there ever were.
    count: u64,
    /// Whether the caller has proved who it is, with any of its requests.
    is_known: bool,
    /// Whether the connection is being closed.
    is_closing: bool,
    /// When the connection was opened, or its last request ended.
    quiet_since: Instant,
    /// How many bytes of bodies have come for requests that are under way, while the caller was not known.
    body_bytes: usize,
}

/// A request under way.
pub(crate) struct ActiveRequest(Arc<Activity>, u64);

/// The body of an answer, whose request is under way until it ends.
pub(crate) struct TrackedBody {
    body: Body,
    _active: ActiveRequest,
}

impl http_body::Body for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl Activity {
    /// Of a connection that is opened now.
    pub(crate) fn new(of_strangers: Arc<StrangerRequests>) -> Self {
        let quiet_since = Instant::now();
        let requests = Requests {
            under_way: BTreeMap::new(),
            count: 0,
            is_known: false,
            is_closing: false,
            quiet_since,
            body_bytes: 0,
        };
        Self { requests: Mutex::new(requests), of_strangers }
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock()
    }

    /// Begins a request; `None` if the caller is a stranger, and as many of its requests are under way as may be.
    pub(crate) fn begin(self: &Arc<Self>, at_most: usize) -> Option<ActiveRequest> {
        let mut requests = self.requests();
        if !requests.is_known && requests.under_way.len() >= at_most {
            return None;
        }
        requests.count += 1;
        let number = requests.count;
        requests.under_way.insert(number, Instant::now());
        if !requests.is_known {
            self.of_strangers.under_way.fetch_add(1, Ordering::Relaxed);
            self.of_strangers.to_stay.fetch_add(usize::from(!requests.is_closing), Ordering::Relaxed);
        }
        Some(ActiveRequest(Arc::clone(self), number))
    }

    /// Records that the caller has proved who it is.
    pub(crate) fn mark_known(&self) {
        let mut requests = self.requests();
        if !requests.is_known {
            requests.is_known = true;
            self.forget(&requests, requests.under_way.len());
        }
    }

    /// Takes requests of a stranger out of the count.
    fn forget(&self, requests: &Requests, count: usize) {
        self.of_strangers.under_way.fetch_sub(count, Ordering::Relaxed);
        if !requests.is_closing {
            self.of_strangers.to_stay.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// Records that the connection is being closed.
    pub(crate) fn mark_closing(&self) {
        let mut requests = self.requests();
        if !requests.is_closing && !requests.is_known {
            self.of_strangers.to_stay.fetch_sub(requests.under_way.len(), Ordering::Relaxed);
        }
        requests.is_closing = true;
    }

    /// Since when a stranger has the connection for nothing: its oldest request is under way since then, or there is none.
    /// `None` if the caller is known.
    pub(crate) fn stranger_since(&self) -> Option<Instant> {
        let requests = self.requests();
        let since = requests.under_way.values().next().copied().unwrap_or(requests.quiet_since);
        (!requests.is_known).then_some(since)
    }

    /// How many requests a stranger has under way; `None` if the caller is known.
    pub(crate) fn stranger_requests(&self) -> Option<usize> {
        let requests = self.requests();
        (!requests.is_known).then_some(requests.under_way.len())
    }

    /// Counts what has come of a body; says how much of it is counted and whether that is more than a stranger may send.
    pub(crate) fn count_body(&self, bytes: usize, at_most: usize) -> (usize, bool) {
        let mut requests = self.requests();
        if requests.is_known {
            return (0, false);
        }
        requests.body_bytes += bytes;
        (bytes, requests.body_bytes > at_most)
    }

    /// Takes what was counted of a body out of the count.
    pub(crate) fn forget_body(&self, counted: usize) {
        self.requests().body_bytes -= counted;
    }

    /// Whether the connection is to be closed: no first request within [`HEADER_TIMEOUT`], no request for
    /// [`IDLE_TIMEOUT`], or one that takes longer than [`MAX_REQUEST_DURATION`], of a stranger longer than `patience`.
    fn is_over(&self, patience: Duration) -> bool {
        let requests = self.requests();
        let quiet = requests.quiet_since.elapsed();
        // They are numbered as they began.
        match requests.under_way.values().next() {
            Some(began) if requests.is_known => began.elapsed() > MAX_REQUEST_DURATION,
            Some(began) => began.elapsed() > patience,
            None if requests.count == 0 => quiet >= HEADER_TIMEOUT,
            None => quiet >= IDLE_TIMEOUT,
        }
    }

    /// Waits until the connection is to be closed. A request of a stranger may be under way for `patience`.
    pub(crate) async fn wait_until_closable(&self, patience: Duration) {
        tokio::time::sleep(HEADER_TIMEOUT).await;
        while !self.is_over(patience) {
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }
}

impl ActiveRequest {
    /// Counts the request as under way for as long as the body of its answer is there.
    pub(crate) fn track(self, body: Body) -> TrackedBody {
        TrackedBody { body, _active: self }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let mut requests = self.0.requests();
        requests.under_way.remove(&self.1);
        if !requests.is_known {
            self.0.forget(&requests, 1);
        }
        requests.quiet_since = Instant::now();
    }
}
