//! A hash that compresses each block when it comes, with the function of the `sha2` crate.

use crate::probe::software;
use crate::{BLOCK_BYTES, State, pad, wipe};

/// A hash under way.
#[derive(Clone)]
pub struct Hasher {
    state: State,
    blocks: u64,
}

impl Hasher {
    /// A hash that begins with a state.
    #[must_use]
    pub fn new(initial: State) -> Self {
        Self::resume(initial, 0)
    }

    /// A hash that goes on after so many blocks.
    #[must_use]
    pub fn resume(state: State, blocks: u64) -> Self {
        Self { state, blocks }
    }

    /// Takes in a block.
    pub fn update(&mut self, block: &[u8; BLOCK_BYTES]) {
        self.blocks = self.blocks.wrapping_add(1);
        software(&mut self.state, block);
    }

    /// The state after all blocks, and how many they were.
    #[must_use]
    pub fn state(&self) -> (State, u64) {
        (self.state, self.blocks)
    }

    /// Takes in the rest of the message, which is shorter than a block, and the padding; returns the last state.
    ///
    /// # Panics
    /// When the rest is not shorter than a block.
    pub fn finish(&mut self, rest: &[u8]) -> State {
        let mut padded = [0; 2 * BLOCK_BYTES];
        let length = pad(rest, self.blocks, &mut padded);
        software(&mut self.state, &padded[..length]);
        wipe(&mut padded);
        self.state
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        self.state = [0; 8];
        core::hint::black_box(&self.state);
    }
}
