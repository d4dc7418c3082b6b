//! The capabilities `bus` and `cache`, which an operator grants or not.
//!
//! They are functions and not methods of [`Host`](crate::Host): a component imports exactly what its code can reach,
//! and the methods of a trait object can all be reached. On native targets nothing stands behind them: what is
//! published is gone, what is cached has vanished, as the contract allows.

#[cfg(target_arch = "wasm32")]
use crate::wasm::optional as source;

pub use crate::types::Event;

/// Tells operators something.
#[cfg_attr(not(target_arch = "wasm32"), allow(unused_variables))]
pub fn publish(event: Event) {
    #[cfg(target_arch = "wasm32")]
    source::publish(event);
}

/// Reads a cached value, which may have vanished.
#[must_use]
#[cfg_attr(not(target_arch = "wasm32"), allow(unused_variables))]
pub fn cache_get(name: &str) -> Option<Vec<u8>> {
    #[cfg(target_arch = "wasm32")]
    return source::cache_get(name);
    #[cfg(not(target_arch = "wasm32"))]
    None
}

/// Caches a value derived from public data.
#[cfg_attr(not(target_arch = "wasm32"), allow(unused_variables))]
pub fn cache_set(name: &str, value: &[u8], ttl_seconds: u32) {
    #[cfg(target_arch = "wasm32")]
    source::cache_set(name, value, ttl_seconds);
}
