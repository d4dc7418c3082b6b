//! Binds a component's imports to the capabilities, by hand: a secret on its way in or out is never copied into a
//! buffer that is not wiped.
//!
//! Each binding sees the state of its own capability only (see [`Provides`](crate::host_state::Provides)).
//!
//! Only what a component imports and is granted is in its linker.

mod bus;
mod cache;
mod entropy;
mod hash;
mod log;
mod vault;

use wasmtime::component::Linker;

use crate::capabilities::Capability;
use crate::host_state::HostState;

/// Binds these capabilities, and no other.
pub(crate) fn add(linker: &mut Linker<HostState>, capabilities: &[Capability]) -> wasmtime::Result<()> {
    for capability in capabilities {
        let mut interface = linker.instance(capability.interface())?;
        match capability {
            Capability::Vault => vault::add_to(&mut interface)?,
            Capability::Cache => cache::add_to(&mut interface)?,
            Capability::Bus => bus::add_to(&mut interface)?,
            Capability::Entropy => entropy::add_to(&mut interface)?,
            Capability::Hash => hash::add_to(&mut interface)?,
            Capability::Log => log::add_to(&mut interface)?,
        }
    }
    Ok(())
}
