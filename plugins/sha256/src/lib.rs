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

#[cfg_attr(target_arch = "wasm32", path = "host.rs")]
#[cfg_attr(not(target_arch = "wasm32"), path = "native.rs")]
mod source;

#[cfg(target_arch = "wasm32")]
pub use collecting::Hasher;
#[cfg(not(target_arch = "wasm32"))]
pub use direct::Hasher;

/// The words of a hash state.
pub type State = [u32; 8];

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 64;

/// The initial state of SHA-256.
pub const SHA256: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The initial state of SHA-224.
pub const SHA224: State =
    [0xc105_9ed8, 0x367c_d507, 0x3070_dd17, 0xf70e_5939, 0xffc0_0b31, 0x6858_1511, 0x64f9_8fa7, 0xbefa_4fa4];

/// Writes the rest of a message, which is shorter than a block, and its padding into one block or two; returns how many bytes that are.
///
/// # Panics
/// When the rest is not shorter than a block.
fn pad(rest: &[u8], blocks_before: u64, padded: &mut [u8; 2 * BLOCK_BYTES]) -> usize {
    assert!(rest.len() < BLOCK_BYTES, "a whole block is taken in by itself");
    let bytes = blocks_before.wrapping_mul(BLOCK_BYTES as u64).wrapping_add(rest.len() as u64);
    let length = if rest.len() < BLOCK_BYTES - 8 { BLOCK_BYTES } else { 2 * BLOCK_BYTES };
    padded[..rest.len()].copy_from_slice(rest);
    padded[rest.len()] = 0x80;
    padded[rest.len() + 1..length - 8].fill(0);
    padded[length - 8..length].copy_from_slice(&bytes.wrapping_mul(8).to_be_bytes());
    length
}

/// Overwrites bytes. As a whole, where `zeroize` would write one after the other: this is done for each digest.
fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    core::hint::black_box(bytes);
}
