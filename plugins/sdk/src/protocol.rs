//! The trait that a plugin implements.

use crate::{Descriptor, Failure, Host, Incoming, Progress, Roster, Task};

/// A protocol: the whole of a plugin, ended by [`export!`](crate::export).
pub trait Protocol {
    /// The identity and abilities of the plugin.
    fn describe() -> Descriptor;

    /// Begins a session. Nothing is sent before its first step.
    ///
    /// # Errors
    /// When the task or the stored share does not allow it.
    fn start(host: &mut dyn Host, roster: Roster, task: Task) -> Result<Box<dyn Session>, Failure>;
}

/// A running session. Usually a [`Run`](crate::Run).
pub trait Session {
    /// Takes what arrived and computes as far as that allows.
    ///
    /// # Errors
    /// Any failure ends the session; it is not stepped again.
    fn step(&mut self, host: &mut dyn Host, incoming: Vec<Incoming>) -> Result<Progress, Failure>;
}

impl Session for Box<dyn Session> {
    fn step(&mut self, host: &mut dyn Host, incoming: Vec<Incoming>) -> Result<Progress, Failure> {
        (**self).step(host, incoming)
    }
}

/// Exports a [`Protocol`] as the component's `protocol` interface. On native targets it does nothing.
#[macro_export]
macro_rules! export {
    ($protocol:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        mod component {
            use super::*;
            type Exported = $crate::wasm::Component<$protocol>;
            $crate::wasm::bindings::export_component!(
                Exported with_types_in $crate::wasm::bindings
            );
        }
    };
}
