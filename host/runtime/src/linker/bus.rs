//! Binds the import `bus` of a component: publishes events.

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::bindings::quorate::party::bus as wit;
use crate::capabilities::bus::{BusState, Event};
use crate::host_state::{HostCall, Provides};

pub(super) fn add_to<T: Provides<BusState>>(interface: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    interface.func_wrap("publish", |mut store: StoreContextMut<'_, T>, (event,): (wit::Event,)| {
        let HostCall { calls, capability } = store.data_mut().host_call();
        calls.charge(0)?;
        let event = match event {
            wit::Event::Progress(p) => Event::Progress { step: p.step, of: p.of },
            wit::Event::PoolLevel(level) => Event::PoolLevel(level),
            wit::Event::Note(code) => capability.note(code),
        };
        capability.publish(event);
        Ok(())
    })
}
