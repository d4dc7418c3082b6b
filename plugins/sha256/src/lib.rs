//! SHA-256 (FIPS 180-4) on the compression function of the host, for the crates that stand in for `sha2` in a component.
//!
//! On native targets the compression function is that of the `sha2` crate, with the processor's own instructions where it has them.
//!
//! Invariant: what was hashed is overwritten when a hasher is dropped.
#![deny(unsafe_code)]

pub mod collecting;
pub mod direct;
pub mod probe;
pub mod sha512;
mod software;

#[cfg(target_arch = "wasm32")]
mod host;

#[cfg(any(target_arch = "wasm32", feature = "collecting"))]
pub use collecting::CollectingSha256 as BlockSha256;
#[cfg(not(any(target_arch = "wasm32", feature = "collecting")))]
pub use direct::DirectSha256 as BlockSha256;

/// The words of a hash state.
pub type Words = [u32; 8];

/// A function that compresses whole blocks into a state.
pub type Compression = fn(&mut Words, &[u8]);

/// The compression function that digests are made with: in a component that of the host.
#[cfg(target_arch = "wasm32")]
pub const COMPRESSION: Compression = host::compress;
/// The compression function that digests are made with: in a component that of the host.
#[cfg(not(target_arch = "wasm32"))]
pub const COMPRESSION: Compression = software::compress;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 64;

/// A block.
pub type Block = [u8; BLOCK_BYTES];

/// The words with which SHA-256 begins.
pub const SHA256_INITIAL_WORDS: Words =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The words with which SHA-224 begins.
pub const SHA224_INITIAL_WORDS: Words =
    [0xc105_9ed8, 0x367c_d507, 0x3070_dd17, 0xf70e_5939, 0xffc0_0b31, 0x6858_1511, 0x64f9_8fa7, 0xbefa_4fa4];

/// The rest of a message, which is shorter than a block, with its padding: one block or two, and how many.
///
/// # Panics
/// When the rest is not shorter than a block.
fn pad(rest: &[u8], blocks_before: u64) -> ([Block; 2], usize) {
    assert!(rest.len() < BLOCK_BYTES, "a whole block is taken in by itself");
    let bytes = blocks_before.wrapping_mul(BLOCK_BYTES as u64).wrapping_add(rest.len() as u64);
    let mut padding = [[0; BLOCK_BYTES]; 2];
    let blocks = if rest.len() < BLOCK_BYTES - 8 { 1 } else { 2 };
    padding[0][..rest.len()].copy_from_slice(rest);
    padding[0][rest.len()] = 0x80;
    padding[blocks - 1][BLOCK_BYTES - 8..].copy_from_slice(&bytes.wrapping_mul(8).to_be_bytes());
    (padding, blocks)
}

/// Overwrites blocks, each as a whole: `zeroize` would write one byte after the other, and this is done for each digest.
fn wipe(blocks: &mut [Block]) {
    for block in blocks {
        *block = [0; BLOCK_BYTES];
        core::hint::black_box(block);
    }
}
