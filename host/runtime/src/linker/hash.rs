//! Binds the import `hash` of a component: SHA-256's compression function.
//!
//! It is called some ten thousand times for a signature. So it asks no clock (the component is interrupted between two calls, and the
//! blocks of one are few), reads the blocks where they are, and copies nothing to the heap.

use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, WasmList};

use crate::capabilities::hash::HashState;
use crate::host_state::Provides;

/// The contract's hash state.
type Words = (u32, u32, u32, u32, u32, u32, u32, u32);

pub(super) fn add_to<T: Provides<HashState>>(interface: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    interface.func_wrap(
        "compress",
        |mut store: StoreContextMut<'_, T>, (state, blocks): (Words, WasmList<u8>)| {
            let (a, b, c, d, e, f, g, h) = state;
            // The blocks borrow the store, so the state is taken out of it for the call.
            let mut hash = std::mem::take(store.data_mut().host_call().capability);
            let compressed = hash.compress([a, b, c, d, e, f, g, h], blocks.as_le_slice(&store));
            *store.data_mut().host_call().capability = hash;
            let [a, b, c, d, e, f, g, h] = compressed?;
            Ok(((a, b, c, d, e, f, g, h),))
        },
    )
}
