//! Randomness: the only source a component has.

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;
use zeroize::Zeroizing;

use crate::error::{Misbehaviour, Stop};
use crate::limits;
use crate::session::HostState;

/// Where randomness comes from.
pub trait Entropy: Send + Sync {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// When there is none; the session then ends.
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()>;
}

/// No randomness, for a component that only describes itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&self, _: &mut [u8]) -> std::io::Result<()> {
        Err(std::io::Error::other("there is no randomness before a session"))
    }
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        getrandom::fill(bytes).map_err(std::io::Error::other)
    }
}

pub(super) fn add_to(interface: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
    interface.func_wrap("fill", |mut store: StoreContextMut<'_, HostState>, (len,): (u32,)| {
        let state = store.data_mut();
        let wanted = usize::try_from(len).unwrap_or(usize::MAX);
        state.charge(wanted)?;
        state.entropy_bytes = state.entropy_bytes.saturating_add(wanted);
        if len > limits::ENTROPY_CALL_BYTES || state.entropy_bytes > limits::ENTROPY_SESSION_BYTES {
            return Err(Misbehaviour::Quota("entropy").into());
        }
        let mut bytes = Zeroizing::new(vec![0; wanted]);
        let filled = state.capabilities.entropy.fill(&mut bytes);
        filled.map_err(|error| Stop::Host(format!("no randomness: {error}")))?;
        Ok((state.lend(&bytes),))
    })
}
