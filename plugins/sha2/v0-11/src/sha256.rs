//! SHA-256 by blocks, with the traits of the `digest` crate.

use core::fmt;

use digest::block_api::{
    AlgorithmName, Block, BlockSizeUser, Buffer, BufferKindUser, Eager, OutputSizeUser, TruncSide, UpdateCore,
    VariableOutputCore,
};
use digest::common::hazmat::{DeserializeStateError, SerializableState, SerializedState};
use digest::typenum::{U32, U40, U64};
use digest::zeroize::ZeroizeOnDrop;
use digest::{HashMarker, InvalidOutputSize, Output};
use quorate_sha256::{BlockSha256, SHA224_INITIAL_WORDS, SHA256_INITIAL_WORDS};

/// SHA-256 by blocks. With an output of 28 bytes it is SHA-224.
#[derive(Clone)]
pub struct Sha256VarCore(BlockSha256);

impl HashMarker for Sha256VarCore {}

// The hasher overwrites itself.
impl ZeroizeOnDrop for Sha256VarCore {}

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
        blocks.iter().for_each(|block| self.0.update(&block.0));
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
        buffer.reset();
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

impl SerializableState for Sha256VarCore {
    type SerializedStateSize = U40;

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
        let (words, blocks) = serialized.split_at(32);
        let (words, _) = words.as_chunks();
        let state = core::array::from_fn(|i| u32::from_le_bytes(words[i]));
        let blocks = blocks.try_into().map_err(|_| DeserializeStateError)?;
        Ok(Self(BlockSha256::resume(state, u64::from_le_bytes(blocks))))
    }
}
