//! SHA-256 and SHA-512 by blocks, with the traits of the `digest` crate.

use core::fmt;

use digest::block_api::{
    AlgorithmName, Block, BlockSizeUser, Buffer, BufferKindUser, Eager, OutputSizeUser, TruncSide, UpdateCore,
    VariableOutputCore,
};
use digest::common::hazmat::{DeserializeStateError, SerializableState, SerializedState};
use digest::typenum::{U32, U40, U64, U80, U128};
use digest::zeroize::ZeroizeOnDrop;
use digest::{HashMarker, InvalidOutputSize, Output};
use quorate_sha256::sha512::BlockSha512;
use quorate_sha256::{BlockSha256, SHA224_INITIAL_WORDS, SHA256_INITIAL_WORDS};

/// Makes a type that hashes by blocks of one of `quorate_sha256`'s hashers. All numbers are in bytes.
macro_rules! block_core {
    (
        $(#[$doc:meta])*
        $name:ident($hasher:ty), called $called:literal,
        block: $block:ty, output: $output:ty, stored: $stored:ty, word: $word:ty, count: $count:ty,
        begins: { $($size:literal => $begin:expr),+ }
    ) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name($hasher);

        impl HashMarker for $name {}

        impl BlockSizeUser for $name {
            type BlockSize = $block;
        }

        impl BufferKindUser for $name {
            type BufferKind = Eager;
        }

        impl OutputSizeUser for $name {
            type OutputSize = $output;
        }

        impl UpdateCore for $name {
            fn update_blocks(&mut self, blocks: &[Block<Self>]) {
                blocks.iter().for_each(|block| self.0.update(&block.0));
            }
        }

        impl VariableOutputCore for $name {
            const TRUNC_SIDE: TruncSide = TruncSide::Left;

            fn new(output_size: usize) -> Result<Self, InvalidOutputSize> {
                match output_size {
                    $($size => Ok(Self($begin)),)+
                    _ => Err(InvalidOutputSize),
                }
            }

            fn finalize_variable_core(&mut self, buffer: &mut Buffer<Self>, out: &mut Output<Self>) {
                let words = self.0.finish(buffer.get_data());
                buffer.reset();
                let bytes = words.iter().flat_map(|word| word.to_be_bytes());
                out.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
            }
        }

        impl AlgorithmName for $name {
            fn write_alg_name(f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($called)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), " { .. }"))
            }
        }

        // The hasher overwrites itself.
        impl ZeroizeOnDrop for $name {}

        impl SerializableState for $name {
            type SerializedStateSize = $stored;

            fn serialize(&self) -> SerializedState<Self> {
                let (state, blocks) = self.0.state();
                let words = state.iter().flat_map(|word| word.to_le_bytes());
                let mut serialized = SerializedState::<Self>::default();
                let bytes = words.chain(blocks.to_le_bytes());
                serialized.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
                serialized
            }

            fn deserialize(serialized: &SerializedState<Self>) -> Result<Self, DeserializeStateError> {
                let (words, blocks) = serialized.split_at(size_of::<[$word; 8]>());
                let (words, _) = words.as_chunks();
                let state = core::array::from_fn(|i| <$word>::from_le_bytes(words[i]));
                let blocks = blocks.try_into().map_err(|_| DeserializeStateError)?;
                Ok(Self(<$hasher>::resume(state, <$count>::from_le_bytes(blocks))))
            }
        }
    };
}

block_core!(
    /// SHA-256 by blocks. With an output of 28 bytes it is SHA-224.
    Sha256VarCore(BlockSha256), called "Sha256",
    block: U64, output: U32, stored: U40, word: u32, count: u64,
    begins: {
        28 => BlockSha256::new(SHA224_INITIAL_WORDS),
        32 => BlockSha256::new(SHA256_INITIAL_WORDS)
    }
);

block_core!(
    /// SHA-512 by blocks.
    Sha512VarCore(BlockSha512), called "Sha512",
    block: U128, output: U64, stored: U80, word: u64, count: u128,
    begins: { 64 => BlockSha512::default() }
);
