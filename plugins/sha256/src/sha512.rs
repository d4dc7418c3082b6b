//! SHA-512 (FIPS 180-4), with the compression function of the `sha2` crate: the host has none.

use sha2_0_9::digest::generic_array::GenericArray;
use zeroize::Zeroize;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 128;

/// The initial state.
const INITIAL: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// A hash under way.
#[derive(Clone)]
pub struct BlockSha512 {
    state: [u64; 8],
    blocks: u128,
}

impl Default for BlockSha512 {
    fn default() -> Self {
        Self::resume(INITIAL, 0)
    }
}

impl BlockSha512 {
    /// A hash that goes on after so many blocks.
    #[must_use]
    pub fn resume(state: [u64; 8], blocks: u128) -> Self {
        Self { state, blocks }
    }

    /// Takes in a block.
    pub fn update(&mut self, block: &[u8; BLOCK_BYTES]) {
        self.blocks = self.blocks.wrapping_add(1);
        self.compress(block);
    }

    /// The state after all blocks, and how many they were.
    #[must_use]
    pub fn state(&self) -> ([u64; 8], u128) {
        (self.state, self.blocks)
    }

    /// Takes in the rest of the message, which is shorter than a block, and the padding; returns the last state.
    ///
    /// # Panics
    /// When the rest is not shorter than a block.
    pub fn finish(&mut self, rest: &[u8]) -> [u64; 8] {
        assert!(rest.len() < BLOCK_BYTES, "a whole block is taken in by itself");
        let bytes = self.blocks.wrapping_mul(BLOCK_BYTES as u128).wrapping_add(rest.len() as u128);
        let mut block = [0; BLOCK_BYTES];
        block[..rest.len()].copy_from_slice(rest);
        block[rest.len()] = 0x80;
        if rest.len() >= BLOCK_BYTES - 16 {
            self.compress(&block);
            block = [0; BLOCK_BYTES];
        }
        block[BLOCK_BYTES - 16..].copy_from_slice(&bytes.wrapping_mul(8).to_be_bytes());
        self.compress(&block);
        block.zeroize();
        self.state
    }

    fn compress(&mut self, block: &[u8; BLOCK_BYTES]) {
        sha2_0_9::compress512(&mut self.state, core::slice::from_ref(GenericArray::from_slice(block)));
    }
}

impl Drop for BlockSha512 {
    fn drop(&mut self) {
        self.state.zeroize();
    }
}
