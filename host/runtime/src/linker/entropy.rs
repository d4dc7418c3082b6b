//! Binds the import `entropy` of a component: random bytes from the host.

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::capabilities::entropy::EntropyState;
use crate::host_state::{HostCall, Provides};

pub(super) fn add_to<T: Provides<EntropyState>>(
    interface: &mut LinkerInstance<'_, T>,
) -> wasmtime::Result<()> {
    interface.func_wrap("fill", |mut store: StoreContextMut<'_, T>, (len,): (u32,)| {
        let HostCall { calls, capability } = store.data_mut().host_call();
        let wanted = usize::try_from(len).unwrap_or(usize::MAX);
        calls.charge(wanted)?;
        let bytes = capability.fill(wanted)?;
        Ok((calls.give(&bytes),))
    })
}
