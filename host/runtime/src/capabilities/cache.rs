//! Values derived from public data, which may vanish.

use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::capabilities::vault::is_entry_name;
use crate::limits;
use crate::session::HostState;

/// A cache of one plugin. Both calls must return at once: a cache that is slow misses.
pub trait Cache: Send + Sync {
    /// A value, if it is still there.
    fn get(&self, name: &str) -> Option<Vec<u8>>;
    /// Keeps a value for a while.
    fn set(&self, name: &str, value: Vec<u8>, ttl: Duration);
}

/// A cache that forgets at once.
#[derive(Clone, Copy, Debug)]
pub struct NoCache;

impl Cache for NoCache {
    fn get(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn set(&self, _: &str, _: Vec<u8>, _: Duration) {}
}

pub(super) fn add_to(interface: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
    interface.func_wrap("get", |mut store: StoreContextMut<'_, HostState>, (name,): (String,)| {
        let state = store.data_mut();
        state.charge(name.len())?;
        let found = is_entry_name(&name).then(|| state.capabilities.cache.get(&name)).flatten();
        Ok((found,))
    })?;
    interface.func_wrap(
        "set",
        |mut store: StoreContextMut<'_, HostState>, (name, value, ttl): (String, Vec<u8>, u32)| {
            let state = store.data_mut();
            state.charge(name.len().saturating_add(value.len()))?;
            state.cache_sets = state.cache_sets.saturating_add(1);
            let fits = state.cache_sets <= limits::CACHE_SETS && value.len() <= limits::CACHE_VALUE_BYTES;
            if fits && is_entry_name(&name) {
                let ttl = Duration::from_secs(ttl.into()).min(limits::CACHE_TTL);
                state.capabilities.cache.set(&name, value, ttl);
            }
            Ok(())
        },
    )
}
