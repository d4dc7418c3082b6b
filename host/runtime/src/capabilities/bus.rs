//! Events for operators: enumerated, so that nothing can be smuggled out.

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::bindings::quorate::party::bus as wit;
use crate::limits;
use crate::session::HostState;

/// An event of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `step` of `of` is done.
    Progress {
        /// Steps done.
        step: u32,
        /// Steps in all.
        of: u32,
    },
    /// Items of single-use material now in the pool.
    PoolLevel(u32),
    /// A number from the plugin's documentation.
    Note(u32),
}

/// Where events go.
pub trait Bus: Send + Sync {
    /// Takes an event. Must return at once: a bus that is full drops it.
    fn publish(&self, event: Event);
}

/// A bus that leads nowhere.
#[derive(Clone, Copy, Debug)]
pub struct NoBus;

impl Bus for NoBus {
    fn publish(&self, _: Event) {}
}

pub(super) fn add_to(interface: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
    interface.func_wrap("publish", |mut store: StoreContextMut<'_, HostState>, (event,): (wit::Event,)| {
        let state = store.data_mut();
        state.charge(0)?;
        state.events = state.events.saturating_add(1);
        if state.events <= limits::EVENTS {
            state.capabilities.bus.publish(match event {
                wit::Event::Progress(p) => Event::Progress { step: p.step, of: p.of },
                wit::Event::PoolLevel(level) => Event::PoolLevel(level),
                wit::Event::Note(code) => Event::Note(code),
            });
        }
        Ok(())
    })
}
