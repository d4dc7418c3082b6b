//! A hash that compresses each block when it comes, with the function of the `sha2` crate.

use crate::{Block, Words, pad, software, wipe};

/// A hash under way.
#[derive(Clone)]
pub struct DirectSha256 {
    state: Words,
    blocks: u64,
}

impl DirectSha256 {
    /// A hash that begins with a state.
    #[must_use]
    pub fn new(initial: Words) -> Self {
        Self::resume(initial, 0)
    }

    /// A hash that goes on after so many blocks.
    #[must_use]
    pub fn resume(state: Words, blocks: u64) -> Self {
        Self { state, blocks }
    }

    /// Takes in a block.
    pub fn update(&mut self, block: &Block) {
        self.blocks = self.blocks.wrapping_add(1);
        software::compress(&mut self.state, block);
    }

    /// The state after all blocks, and how many they were.
    #[must_use]
    pub fn state(&self) -> (Words, u64) {
        (self.state, self.blocks)
    }

    /// Takes in the rest of the message, which is shorter than a block, and the padding; returns the last state.
    ///
    /// # Panics
    /// When the rest is not shorter than a block.
    pub fn finish(&mut self, rest: &[u8]) -> Words {
        let (mut padding, blocks) = pad(rest, self.blocks);
        software::compress(&mut self.state, padding[..blocks].as_flattened());
        wipe(&mut padding);
        self.state
    }
}

impl Drop for DirectSha256 {
    fn drop(&mut self) {
        self.state = [0; 8];
        core::hint::black_box(&self.state);
    }
}
