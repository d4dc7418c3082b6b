//! Binds the import `cache` of a component: reads and sets cached values.

use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::capabilities::cache::CacheState;
use crate::host_state::{HostCall, Provides};

pub(super) fn add_to<T: Provides<CacheState>>(interface: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    interface.func_wrap("get", |mut store: StoreContextMut<'_, T>, (name,): (String,)| {
        let HostCall { calls, capability } = store.data_mut().host_call();
        calls.charge(name.len())?;
        Ok((capability.get(&name),))
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
