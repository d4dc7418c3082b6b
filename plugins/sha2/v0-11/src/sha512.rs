//! SHA-512 by blocks, with the traits of the `digest` crate.

use core::fmt;

use digest::block_api::{
    AlgorithmName, Block, BlockSizeUser, Buffer, BufferKindUser, Eager, OutputSizeUser, TruncSide, UpdateCore,
    VariableOutputCore,
};
use digest::common::hazmat::{DeserializeStateError, SerializableState, SerializedState};
use digest::typenum::{U64, U80, U128};
use digest::zeroize::ZeroizeOnDrop;
use digest::{HashMarker, InvalidOutputSize, Output};
use quorate_sha256::sha512::BlockSha512;

/// SHA-512 by blocks.
#[derive(Clone)]
pub struct Sha512VarCore(BlockSha512);

impl HashMarker for Sha512VarCore {}

// The hasher overwrites itself.
impl ZeroizeOnDrop for Sha512VarCore {}

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
        blocks.iter().for_each(|block| self.0.update(&block.0));
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
        buffer.reset();
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

impl SerializableState for Sha512VarCore {
    type SerializedStateSize = U80;

    fn serialize(&self) -> SerializedState<Self> {
        let (state, blocks) = self.0.state();
        let mut serialized = SerializedState::<Self>::default();
        let words = state.iter().flat_map(|word| word.to_le_bytes());
        for (to, byte) in serialized.iter_mut().zip(words.chain(blocks.to_le_bytes())) {
            *to = byte;
        }
        serialized
    }

    fn deserialize(serialized: &SerializedState<Self>) -> Result<Self, DeserializeStateError> {
        let (words, blocks) = serialized.split_at(64);
        let (words, _) = words.as_chunks();
        let state = core::array::from_fn(|i| u64::from_le_bytes(words[i]));
        let blocks = blocks.try_into().map_err(|_| DeserializeStateError)?;
        Ok(Self(BlockSha512::resume(state, u128::from_le_bytes(blocks))))
    }
}
