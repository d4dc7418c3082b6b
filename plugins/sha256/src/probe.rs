//! Holds the host's compression function against the component's own.

use crate::collecting::CollectingSha256;
use crate::direct::DirectSha256;
use crate::{BLOCK_BYTES, COMPRESSION, Compression, SHA256_INITIAL_WORDS, Words, software};

/// The longest message that is tried.
const MAX_BYTES: usize = 200;

/// The blocks of the longest call that is tried: as many as a call may have.
const MAX_BLOCKS: usize = 1_024;

/// SHA-256 of the empty message and of `abc` (FIPS 180-4, from its examples).
const KNOWN_ANSWERS: [(&[u8], Words); 2] = [
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

/// Whether the host hashes right: known answers, messages of every length up to 200 bytes as the component's own code hashes them, and a
/// call of as many blocks as one may have.
#[must_use]
pub fn host_is_right() -> bool {
    agrees(COMPRESSION)
}

fn agrees(compression: Compression) -> bool {
    let known = KNOWN_ANSWERS.iter().all(|(message, digest)| digest_with(compression, message) == *digest);
    let message: [u8; MAX_BYTES] = core::array::from_fn(|i| (i as u8).wrapping_mul(37).wrapping_add(11));
    let lengths = (0..=MAX_BYTES).all(|length| {
        let message = &message[..length];
        digest_with(compression, message) == own_digest(message)
    });
    let blocks: Vec<u8> = (0..MAX_BLOCKS * BLOCK_BYTES).map(|i| (i % 251) as u8).collect();
    let (mut there, mut here) = (SHA256_INITIAL_WORDS, SHA256_INITIAL_WORDS);
    compression(&mut there, &blocks);
    software::compress(&mut here, &blocks);
    known && lengths && there == here
}

fn digest_with(compression: Compression, message: &[u8]) -> Words {
    let (blocks, rest) = message.as_chunks();
    let mut hasher = CollectingSha256::new(SHA256_INITIAL_WORDS).with(compression);
    blocks.iter().for_each(|block| hasher.update(block));
    hasher.finish(rest)
}

fn own_digest(message: &[u8]) -> Words {
    let (blocks, rest) = message.as_chunks();
    let mut hasher = DirectSha256::new(SHA256_INITIAL_WORDS);
    blocks.iter().for_each(|block| hasher.update(block));
    hasher.finish(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_compresses_wrongly_is_found_out() {
        assert!(agrees(software::compress));
        let wrong: [Compression; 4] = [
            |_, _| {},
            |state, blocks| software::compress(state, &blocks[..BLOCK_BYTES]),
            |state, blocks| {
                software::compress(state, blocks);
                state.swap(0, 1);
            },
            |state, blocks| software::compress(state, &blocks[..blocks.len().min(64 * BLOCK_BYTES)]),
        ];
        assert!(wrong.iter().all(|wrong| !agrees(*wrong)));
    }
}
