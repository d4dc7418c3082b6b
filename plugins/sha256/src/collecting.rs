//! A hash that collects blocks and compresses several at once: a call of the host costs as much as some blocks. Most digests of a protocol
//! are of a few blocks, so they take one call each.

use crate::{BLOCK_BYTES, Block, COMPRESSION, Compression, Words, pad, wipe};

/// Blocks that are collected. The messages that DKLs23 hashes most have up to four.
const COLLECTED_BLOCKS: usize = 4;

/// Blocks of padding, with the rest of a message.
const PADDING_BLOCKS: usize = 2;

/// A hash under way.
#[derive(Clone)]
pub struct CollectingSha256 {
    compression: Compression,
    state: Words,
    /// Blocks taken in so far.
    blocks: u64,
    /// Blocks that are not compressed yet, from the front, and room for the padding behind them.
    collected: [Block; COLLECTED_BLOCKS + PADDING_BLOCKS],
    /// How many blocks are not compressed yet.
    waiting: usize,
}

impl CollectingSha256 {
    /// A hash that begins with a state.
    #[must_use]
    pub fn new(initial: Words) -> Self {
        Self::resume(initial, 0)
    }

    /// A hash that goes on after so many blocks.
    #[must_use]
    pub fn resume(state: Words, blocks: u64) -> Self {
        let collected = [[0; BLOCK_BYTES]; COLLECTED_BLOCKS + PADDING_BLOCKS];
        Self { compression: COMPRESSION, state, blocks, collected, waiting: 0 }
    }

    /// The same with another compression function.
    #[must_use]
    pub(crate) fn with(self, compression: Compression) -> Self {
        Self { compression, ..self.clone() }
    }

    /// Takes in a block.
    pub fn update(&mut self, block: &Block) {
        if self.waiting == COLLECTED_BLOCKS {
            self.compress();
        }
        self.blocks = self.blocks.wrapping_add(1);
        self.collected[self.waiting] = *block;
        self.waiting += 1;
    }

    /// The state after all blocks, and how many they were.
    #[must_use]
    pub fn state(&self) -> (Words, u64) {
        let mut all = self.clone();
        all.compress();
        (all.state, all.blocks)
    }

    /// Takes in the rest of the message, which is shorter than a block, and the padding; returns the last state.
    ///
    /// # Panics
    /// When the rest is not shorter than a block.
    pub fn finish(&mut self, rest: &[u8]) -> Words {
        let (mut padding, blocks) = pad(rest, self.blocks);
        for block in &padding[..blocks] {
            self.collected[self.waiting] = *block;
            self.waiting += 1;
        }
        wipe(&mut padding);
        self.compress();
        self.state
    }

    fn compress(&mut self) {
        if self.waiting > 0 {
            let blocks = &mut self.collected[..self.waiting];
            (self.compression)(&mut self.state, blocks.as_flattened());
            wipe(blocks);
            self.waiting = 0;
        }
    }
}

impl Drop for CollectingSha256 {
    fn drop(&mut self) {
        self.state = [0; 8];
        core::hint::black_box(&self.state);
        wipe(&mut self.collected[..self.waiting]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SHA256_INITIAL_WORDS;

    #[test]
    fn what_is_collected_is_hashed_like_what_is_not() {
        let message: Vec<u8> = (0..40 * BLOCK_BYTES).map(|i| (i * 37 + 11).to_le_bytes()[0]).collect();
        for length in 0..message.len() {
            let (blocks, rest) = message[..length].as_chunks();
            let (mut collecting, mut direct) = (
                CollectingSha256::new(SHA256_INITIAL_WORDS),
                crate::direct::DirectSha256::new(SHA256_INITIAL_WORDS),
            );
            for block in blocks {
                collecting.update(block);
                direct.update(block);
            }
            assert_eq!(collecting.state(), direct.state(), "{length} bytes");
            let mut resumed = CollectingSha256::resume(direct.state().0, direct.state().1);
            let expected = direct.finish(rest);
            assert_eq!(collecting.finish(rest), expected, "{length} bytes");
            assert_eq!(resumed.finish(rest), expected, "{length} bytes");
        }
    }
}
