//! SHA-256: the compression function on this machine's instructions.
//!
//! The code is constant-time: it is that of the `sha2` crate, which takes the processor's own instructions where there are some, and has
//! neither tables nor branches that depend on what is hashed.

use std::time::Duration;

use sha2_blocks::block_api::compress256;

use crate::error::Misbehaviour;
use crate::limits;

/// Bytes of a block.
const BLOCK_BYTES: usize = 64;

/// The words of a hash state.
pub(crate) type State = [u32; 8];

/// What a session has hashed.
#[derive(Default)]
pub(crate) struct HashState {
    calls: u32,
    blocks: u64,
}

impl HashState {
    /// Compresses whole blocks into a state.
    ///
    /// # Errors
    /// [`Misbehaviour::Quota`] for no whole blocks, for too many, and when the session has hashed as much as it may.
    pub(crate) fn compress(&mut self, mut state: State, blocks: &[u8]) -> wasmtime::Result<State> {
        let (blocks, rest) = blocks.as_chunks::<BLOCK_BYTES>();
        if blocks.is_empty() || !rest.is_empty() || blocks.len() > limits::MAX_HASH_CALL_BLOCKS {
            return Err(Misbehaviour::Quota("blocks of a hash call").into());
        }
        self.calls = self.calls.saturating_add(1);
        self.blocks = self.blocks.saturating_add(blocks.len() as u64);
        if self.calls > limits::MAX_HASH_CALLS || self.blocks > limits::MAX_HASH_BLOCKS {
            return Err(Misbehaviour::Quota("hash").into());
        }
        compress256(&mut state, blocks);
        Ok(state)
    }

    /// The processor time of all calls, reckoned from their numbers.
    pub(crate) fn cpu_time(&self) -> Duration {
        let calls = limits::HASH_CALL_CPU_TIME * self.calls;
        calls + limits::HASH_BLOCK_CPU_TIME.saturating_mul(u32::try_from(self.blocks).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: State = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];

    #[test]
    fn a_block_is_compressed_as_fips_180_says() {
        // The message "abc", padded.
        let mut block = [0; 64];
        block[..4].copy_from_slice(b"abc\x80");
        block[63] = 24;
        let digest = HashState::default().compress(SHA256, &block).unwrap();
        let bytes: Vec<u8> = digest.iter().flat_map(|word| word.to_be_bytes()).collect();
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), known);
    }

    #[test]
    fn only_whole_blocks_are_hashed_and_no_more_than_a_session_may() {
        for (bytes, fits) in
            [(0, false), (1, false), (63, false), (64, true), (65, false), (65_536, true), (65_600, false)]
        {
            assert_eq!(HashState::default().compress(SHA256, &vec![0; bytes]).is_ok(), fits, "{bytes} bytes");
        }
        let mut state = HashState { calls: limits::MAX_HASH_CALLS, blocks: 0 };
        assert!(state.compress(SHA256, &[0; 64]).is_err());
        let mut state = HashState { calls: 0, blocks: limits::MAX_HASH_BLOCKS - 1 };
        assert!(state.compress(SHA256, &[0; 128]).is_err());
        let mut state = HashState { calls: 0, blocks: limits::MAX_HASH_BLOCKS - 2 };
        assert!(state.compress(SHA256, &[0; 128]).is_ok());
        assert!(state.cpu_time() > Duration::from_secs(1));
    }
}
