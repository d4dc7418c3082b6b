//! Binds the import `entropy` of a component: random bytes from the host.

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::host_state::HostState;

pub(super) fn add_to(interface: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
    interface.func_wrap("fill", |mut store: StoreContextMut<'_, HostState>, (len,): (u32,)| {
        let state = store.data_mut();
        let wanted = usize::try_from(len).unwrap_or(usize::MAX);
        state.charge(wanted)?;
        let bytes = state.entropy.fill(wanted)?;
        Ok((state.give(&bytes),))
    })
}
