//! Holds the host's compression function against the component's own.

use software::digest::generic_array::GenericArray;

use crate::{BLOCK_BYTES, SHA256, State, collecting, direct, source};

/// The longest message that is tried.
const MAX_BYTES: usize = 200;

/// SHA-256 of the empty message and of `abc` (FIPS 180-4, from its examples).
const KNOWN: [(&[u8], State); 2] = [
    (
        b"",
        [
            0xe3b0_c442,
            0x98fc_1c14,
            0x9afb_f4c8,
            0x996f_b924,
            0x27ae_41e4,
            0x649b_934c,
            0xa495_991b,
            0x7852_b855,
        ],
    ),
    (
        b"abc",
        [
            0xba78_16bf,
            0x8f01_cfea,
            0x4141_40de,
            0x5dae_2223,
            0xb003_61a3,
            0x9617_7a9c,
            0xb410_ff61,
            0xf200_15ad,
        ],
    ),
];

/// Whether the host hashes right: known answers, and messages of every length up to 200 bytes as the component's own code hashes them.
#[must_use]
pub fn is_right() -> bool {
    let known = KNOWN.iter().all(|(message, digest)| hosts(message) == *digest);
    let message: [u8; MAX_BYTES] = core::array::from_fn(|i| (i as u8).wrapping_mul(37).wrapping_add(11));
    let lengths = (0..=MAX_BYTES).all(|length| hosts(&message[..length]) == own(&message[..length]));
    // A call of many blocks.
    let (mut at_host, mut here) = (SHA256, SHA256);
    source::compress(&mut at_host, &[7; 64 * BLOCK_BYTES]);
    software(&mut here, &[7; 64 * BLOCK_BYTES]);
    known && lengths && at_host == here
}

fn hosts(message: &[u8]) -> State {
    let (blocks, rest) = message.as_chunks();
    let mut hasher = collecting::Hasher::new(SHA256);
    blocks.iter().for_each(|block| hasher.update(block));
    hasher.finish(rest)
}

fn own(message: &[u8]) -> State {
    let (blocks, rest) = message.as_chunks();
    let mut hasher = direct::Hasher::new(SHA256);
    blocks.iter().for_each(|block| hasher.update(block));
    hasher.finish(rest)
}

/// The compression function of the `sha2` crate, which this code brings along. Compresses whole blocks.
pub(crate) fn software(state: &mut State, blocks: &[u8]) {
    for block in blocks.as_chunks::<BLOCK_BYTES>().0 {
        software::compress256(state, core::slice::from_ref(GenericArray::from_slice(block)));
    }
}

#[cfg(test)]
mod tests {
    /// Natively both are the `sha2` crate's: this tries the known answers.
    #[test]
    fn every_length_is_hashed_alike() {
        assert!(super::is_right());
    }
}
