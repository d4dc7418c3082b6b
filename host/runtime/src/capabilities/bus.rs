//! Events for operators: enumerated, so that nothing can be smuggled out.

use std::sync::Arc;

use crate::codes::{PluginCode, PluginCodes};
use crate::limits;

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
    /// A code of the component.
    Note(PluginCode),
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

/// The bus as one session has it.
pub(crate) struct BusState {
    bus: Arc<dyn Bus>,
    codes: PluginCodes,
    published: u32,
}

impl BusState {
    pub(crate) fn new(bus: Arc<dyn Bus>, codes: PluginCodes) -> Self {
        Self { bus, codes, published: 0 }
    }

    /// The code of a note.
    pub(crate) fn note(&self, code: u16) -> Event {
        Event::Note(self.codes.known(code))
    }

    /// Passes an event on; those beyond [`limits::MAX_EVENTS`] are dropped.
    pub(crate) fn publish(&mut self, event: Event) {
        self.published = self.published.saturating_add(1);
        if self.published <= limits::MAX_EVENTS {
            self.bus.publish(event);
        }
    }
}
