//! Binds the import `cache` of a component: reads and sets cached values.

use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::capabilities::cache::CacheState;
use crate::host_state::{HostCall, Provides};
use crate::limits;

pub(super) fn add_to<T: Provides<CacheState>>(interface: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    interface.func_wrap_async("get", |mut store: StoreContextMut<'_, T>, (name,): (String,)| {
        Box::new(async move {
            let HostCall { calls, capability } = store.data_mut().host_call();
            calls.charge(name.len())?;
            let Some(looking_up) = capability.get(&name) else { return Ok((None,)) };
            let found = looking_up.await;
            let found = found.filter(|value| value.len() <= limits::MAX_CACHE_VALUE_BYTES);
            let HostCall { calls, .. } = store.data_mut().host_call();
            calls.charge(found.as_ref().map_or(0, Vec::len))?;
            Ok((found,))
        })
    })?;
    interface.func_wrap(
        "set",
        |mut store: StoreContextMut<'_, T>, (name, value, ttl): (String, Vec<u8>, u32)| {
            let HostCall { calls, capability } = store.data_mut().host_call();
            calls.charge(name.len().saturating_add(value.len()))?;
            capability.set(&name, value, Duration::from_secs(ttl.into()));
            Ok(())
        },
    )
}
