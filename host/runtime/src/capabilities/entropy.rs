//! Randomness: the only source a component has.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::error::{Misbehaviour, Stop};
use crate::limits;

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

/// Randomness as one session has it.
pub(crate) struct EntropyState {
    source: Arc<dyn Entropy>,
    bytes: usize,
}

impl EntropyState {
    pub(crate) fn new(source: Arc<dyn Entropy>) -> Self {
        Self { source, bytes: 0 }
    }

    /// That many random bytes.
    ///
    /// # Errors
    /// [`Misbehaviour::Quota`] when it is more than a call or a session gets, [`Stop::Host`] when there is none.
    pub(crate) fn fill(&mut self, wanted: usize) -> wasmtime::Result<Zeroizing<Vec<u8>>> {
        self.bytes = self.bytes.saturating_add(wanted);
        if wanted > limits::MAX_ENTROPY_CALL_BYTES || self.bytes > limits::MAX_ENTROPY_SESSION_BYTES {
            return Err(Misbehaviour::Quota("entropy").into());
        }
        let mut bytes = Zeroizing::new(vec![0; wanted]);
        self.source.fill(&mut bytes).map_err(|error| Stop::Host(format!("no randomness: {error}")))?;
        Ok(bytes)
    }
}
