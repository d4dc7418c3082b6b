//! SHA-512 by blocks, with the traits of the `digest` crate.

use core::fmt;

use digest::block_buffer::Eager;
use digest::core_api::{
    AlgorithmName, Block, BlockSizeUser, Buffer, BufferKindUser, OutputSizeUser, TruncSide, UpdateCore,
    VariableOutputCore,
};
use digest::typenum::{U64, U128};
use digest::{HashMarker, InvalidOutputSize, Output};
use quorate_sha256::sha512::BlockSha512;

/// SHA-512 by blocks.
#[derive(Clone)]
pub struct Sha512VarCore(BlockSha512);

impl HashMarker for Sha512VarCore {}

impl BlockSizeUser for Sha512VarCore {
    type BlockSize = U128;
}

impl BufferKindUser for Sha512VarCore {
    type BufferKind = Eager;
}

impl OutputSizeUser for Sha512VarCore {
    type OutputSize = U64;
}

impl UpdateCore for Sha512VarCore {
    fn update_blocks(&mut self, blocks: &[Block<Self>]) {
        blocks.iter().for_each(|block| self.0.update(block.as_ref()));
    }
}

impl VariableOutputCore for Sha512VarCore {
    const TRUNC_SIDE: TruncSide = TruncSide::Left;

    fn new(output_size: usize) -> Result<Self, InvalidOutputSize> {
        match output_size {
            64 => Ok(Self(BlockSha512::default())),
            _ => Err(InvalidOutputSize),
        }
    }

    fn finalize_variable_core(&mut self, buffer: &mut Buffer<Self>, out: &mut Output<Self>) {
        let words = self.0.finish(buffer.get_data());
        // A reset leaves the bytes where they are.
        *buffer = Buffer::<Self>::default();
        core::hint::black_box(&*buffer);
        for (bytes, word) in out.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
    }
}

impl AlgorithmName for Sha512VarCore {
    fn write_alg_name(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha512")
    }
}

impl fmt::Debug for Sha512VarCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha512VarCore { .. }")
    }
}
