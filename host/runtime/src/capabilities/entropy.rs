//! Randomness: the only source a component has.

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::SecretBytes;
use crate::error::Misbehaviour;
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
        state.entropy_bytes = state.entropy_bytes.saturating_add(wanted);
        if len > limits::ENTROPY_CALL_BYTES || state.entropy_bytes > limits::ENTROPY_SESSION_BYTES {
            return Err(Misbehaviour::Quota("entropy").into());
        }
        let mut bytes = vec![0; wanted];
        state.capabilities.entropy.fill(&mut bytes)?;
        Ok((state.lend(SecretBytes::new(bytes)),))
    })
}
