//! The body of a request. A stranger may send little at a time: what it sends waits in memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::Bytes;

use crate::idle::Activity;

/// The body of a request on a connection whose caller may be a stranger.
pub(crate) struct MeteredBody {
    body: hyper::body::Incoming,
    activity: Arc<Activity>,
    at_most: usize,
    counted: usize,
}

/// A stranger has sent more than it may.
#[derive(Debug, thiserror::Error)]
#[error("too much was sent before the caller has shown who it is")]
struct TooMuch;

impl MeteredBody {
    /// The bodies of a stranger's requests that are under way have `at_most` bytes together.
    pub(crate) fn new(body: hyper::body::Incoming, activity: Arc<Activity>, at_most: usize) -> Self {
        Self { body, activity, at_most, counted: 0 }
    }
}

impl http_body::Body for MeteredBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let (counted, is_too_much) = self.activity.count_body(data.len(), self.at_most);
            self.counted += counted;
            if is_too_much {
                return Poll::Ready(Some(Err(TooMuch.into())));
            }
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl Drop for MeteredBody {
    fn drop(&mut self) {
        self.activity.forget_body(self.counted);
    }
}
