//! The names of the headers that the HTTP interfaces read and write beside the standard ones.

use axum::http::HeaderName;

/// Carries the caller's API key.
pub const API_KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");

/// Carries the caller's name for a request that it may send again, so that it is carried out once.
pub const IDEMPOTENCY_KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// Marks an answer that was given before, to an earlier request with the same idempotency key.
pub const IDEMPOTENCY_REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Carries the addresses for which proxies call, the nearest last.
pub(crate) const FORWARDED_FOR_HEADER: HeaderName = HeaderName::from_static("x-forwarded-for");
