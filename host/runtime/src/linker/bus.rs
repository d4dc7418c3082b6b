//! Binds the import `bus` of a component: publishes events.

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::bindings::quorate::party::bus as wit;
use crate::capabilities::bus::Event;
use crate::host_state::HostState;

pub(super) fn add_to(interface: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
    interface.func_wrap("publish", |mut store: StoreContextMut<'_, HostState>, (event,): (wit::Event,)| {
        let state = store.data_mut();
        state.charge(0)?;
        state.bus.publish(match event {
            wit::Event::Progress(p) => Event::Progress { step: p.step, of: p.of },
            wit::Event::PoolLevel(level) => Event::PoolLevel(level),
            wit::Event::Note(code) => Event::Note(code),
        });
        Ok(())
    })
}
