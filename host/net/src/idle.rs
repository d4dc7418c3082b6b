//! When a connection ends because nothing happens on it, or because one request never ends.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
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

/// How long a request may be under way: nothing takes longer than an order lives, and what comes after. A client that
/// has not read its answer by then never will.
pub(crate) const MAX_REQUEST_DURATION: Duration = MAX_ORDER_LIFETIME.saturating_add(Duration::from_secs(300));

/// The requests on a connection.
#[derive(Default)]
pub(crate) struct Activity(Mutex<Requests>);

#[derive(Default)]
struct Requests {
    /// When those that are under way began, by their numbers.
    under_way: BTreeMap<u64, Instant>,
    /// How many there ever were.
    count: u64,
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
    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.0.lock()
    }

    pub(crate) fn begin(self: &Arc<Self>) -> ActiveRequest {
        let mut requests = self.requests();
        requests.count += 1;
        let number = requests.count;
        requests.under_way.insert(number, Instant::now());
        ActiveRequest(Arc::clone(self), number)
    }

    /// How many requests there were so far, when none is under way.
    fn idle_after(&self) -> Option<u64> {
        let requests = self.requests();
        requests.under_way.is_empty().then_some(requests.count)
    }

    /// Whether a request is under way for longer than any may be. They are numbered as they began.
    fn is_stuck(&self) -> bool {
        self.requests().under_way.values().next().is_some_and(|began| began.elapsed() > MAX_REQUEST_DURATION)
    }

    /// Waits until the connection is to be closed: no first request within [`HEADER_TIMEOUT`], no request for
    /// [`IDLE_TIMEOUT`], or one that takes longer than [`MAX_REQUEST_DURATION`].
    pub(crate) async fn wait_until_closable(&self) {
        tokio::time::sleep(HEADER_TIMEOUT).await;
        loop {
            let before = self.idle_after();
            if before == Some(0) {
                return;
            }
            tokio::time::sleep(IDLE_TIMEOUT).await;
            if before.is_some() && self.idle_after() == before || self.is_stuck() {
                return;
            }
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
        self.0.requests().under_way.remove(&self.1);
    }
}
