//! A hash that collects blocks and compresses several at once: a call of the host costs as much as some blocks. Most digests of a protocol
//! are of a few blocks, so they take one call each.

use crate::{BLOCK_BYTES, State, pad, source, wipe};

/// Blocks that are collected. The messages that DKLs23 hashes most have up to four.
const COLLECTED_BLOCKS: usize = 6;

/// Bytes that are collected, and room for the padding behind them.
const COLLECTED_BYTES: usize = COLLECTED_BLOCKS * BLOCK_BYTES;

/// A hash under way.
#[derive(Clone)]
pub struct Hasher {
    state: State,
    /// Blocks taken in so far.
    blocks: u64,
    /// Those that the state does not have yet, from the front.
    collected: [u8; COLLECTED_BYTES + 2 * BLOCK_BYTES],
    /// Bytes of them.
    length: usize,
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
        Self { state, blocks, collected: [0; COLLECTED_BYTES + 2 * BLOCK_BYTES], length: 0 }
    }

    /// Takes in a block.
    pub fn update(&mut self, block: &[u8; BLOCK_BYTES]) {
        if self.length == COLLECTED_BYTES {
            self.compress();
        }
        self.blocks = self.blocks.wrapping_add(1);
        self.collected[self.length..self.length + BLOCK_BYTES].copy_from_slice(block);
        self.length += BLOCK_BYTES;
    }

    /// The state after all blocks, and how many they were.
    #[must_use]
    pub fn state(&self) -> (State, u64) {
        let mut all = self.clone();
        all.compress();
        (all.state, all.blocks)
    }

    /// Takes in the rest of the message, which is shorter than a block, and the padding; returns the last state.
    ///
    /// # Panics
    /// When the rest is not shorter than a block.
    pub fn finish(&mut self, rest: &[u8]) -> State {
        if let Some(room) = self.collected[self.length..].first_chunk_mut() {
            self.length += pad(rest, self.blocks, room);
        }
        self.compress();
        self.state
    }

    fn compress(&mut self) {
        if self.length == 0 {
            return;
        }
        let blocks = &mut self.collected[..self.length];
        source::compress(&mut self.state, blocks);
        wipe(blocks);
        self.length = 0;
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        self.state = [0; 8];
        core::hint::black_box(&self.state);
        wipe(&mut self.collected[..self.length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SHA256;

    #[test]
    fn what_is_collected_is_hashed_like_what_is_not() {
        let message: Vec<u8> = (0..40 * BLOCK_BYTES).map(|i| (i * 37 + 11).to_le_bytes()[0]).collect();
        for length in 0..message.len() {
            let (blocks, rest) = message[..length].as_chunks();
            let (mut collecting, mut direct) = (Hasher::new(SHA256), crate::direct::Hasher::new(SHA256));
            for block in blocks {
                collecting.update(block);
                direct.update(block);
            }
            assert_eq!(collecting.state(), direct.state(), "{length} bytes");
            let mut resumed = Hasher::resume(direct.state().0, direct.state().1);
            let expected = direct.finish(rest);
            assert_eq!(collecting.finish(rest), expected, "{length} bytes");
            assert_eq!(resumed.finish(rest), expected, "{length} bytes");
        }
    }
}
