//! Binds the import `cache` of a component: reads and sets cached values.

use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::host_state::HostState;

pub(super) fn add_to(interface: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
    interface.func_wrap("get", |mut store: StoreContextMut<'_, HostState>, (name,): (String,)| {
        let state = store.data_mut();
        state.charge(name.len())?;
        Ok((state.cache.get(&name),))
    })?;
    interface.func_wrap(
        "set",
        |mut store: StoreContextMut<'_, HostState>, (name, value, ttl): (String, Vec<u8>, u32)| {
            let state = store.data_mut();
            state.charge(name.len().saturating_add(value.len()))?;
            state.cache.set(&name, value, Duration::from_secs(ttl.into()));
            Ok(())
        },
    )
}
