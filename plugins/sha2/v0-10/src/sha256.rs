//! SHA-256 by blocks, with the traits of the `digest` crate.

use core::fmt;

use digest::block_buffer::Eager;
use digest::core_api::{
    AlgorithmName, Block, BlockSizeUser, Buffer, BufferKindUser, OutputSizeUser, TruncSide, UpdateCore,
    VariableOutputCore,
};
use digest::typenum::{U32, U64};
use digest::{HashMarker, InvalidOutputSize, Output};
use quorate_sha256::{BlockSha256, SHA224_INITIAL_WORDS, SHA256_INITIAL_WORDS};

/// SHA-256 by blocks. With an output of 28 bytes it is SHA-224.
#[derive(Clone)]
pub struct Sha256VarCore(BlockSha256);

impl HashMarker for Sha256VarCore {}

impl BlockSizeUser for Sha256VarCore {
    type BlockSize = U64;
}

impl BufferKindUser for Sha256VarCore {
    type BufferKind = Eager;
}

impl OutputSizeUser for Sha256VarCore {
    type OutputSize = U32;
}

impl UpdateCore for Sha256VarCore {
    fn update_blocks(&mut self, blocks: &[Block<Self>]) {
        blocks.iter().for_each(|block| self.0.update(block.as_ref()));
    }
}

impl VariableOutputCore for Sha256VarCore {
    const TRUNC_SIDE: TruncSide = TruncSide::Left;

    fn new(output_size: usize) -> Result<Self, InvalidOutputSize> {
        match output_size {
            28 => Ok(Self(BlockSha256::new(SHA224_INITIAL_WORDS))),
            32 => Ok(Self(BlockSha256::new(SHA256_INITIAL_WORDS))),
            _ => Err(InvalidOutputSize),
        }
    }

    fn finalize_variable_core(&mut self, buffer: &mut Buffer<Self>, out: &mut Output<Self>) {
        let words = self.0.finish(buffer.get_data());
        // A reset leaves the bytes where they are.
        *buffer = Buffer::<Self>::default();
        core::hint::black_box(&*buffer);
        for (bytes, word) in out.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
    }
}

impl AlgorithmName for Sha256VarCore {
    fn write_alg_name(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256")
    }
}

impl fmt::Debug for Sha256VarCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256VarCore { .. }")
    }
}
