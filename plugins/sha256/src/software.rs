//! The compression function of the `sha2` crate, which this code brings along.

use sha2_0_9::digest::generic_array::GenericArray;

use crate::{BLOCK_BYTES, Words};

/// Compresses whole blocks into a state.
pub(crate) fn compress(state: &mut Words, blocks: &[u8]) {
    for block in blocks.as_chunks::<BLOCK_BYTES>().0 {
        sha2_0_9::compress256(state, core::slice::from_ref(GenericArray::from_slice(block)));
    }
}
