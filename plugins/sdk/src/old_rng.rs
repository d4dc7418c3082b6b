//! The host's randomness for libraries of the `rand_core` 0.6 era.

use rand_core_06::{CryptoRng, Error, RngCore};

/// A generator without state of its own: every byte comes from the host's `entropy`.
///
/// Libraries that reach for `getrandom` 0.2 by themselves end up at the same source: in a component it is
/// registered as that crate's custom backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct OldRng;

impl RngCore for OldRng {
    fn next_u32(&mut self) -> u32 {
        rand_core_06::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core_06::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        // Without randomness nothing that is computed may be used: in a component the host has trapped already.
        #[allow(clippy::expect_used)]
        getrandom::fill(bytes).expect("no randomness");
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for OldRng {}

#[cfg(target_arch = "wasm32")]
mod registered {
    fn from_host(bytes: &mut [u8]) -> Result<(), getrandom_02::Error> {
        getrandom::fill(bytes).map_err(|_| getrandom_02::Error::UNSUPPORTED)
    }

    #[allow(unsafe_code)]
    mod backend {
        getrandom_02::register_custom_getrandom!(super::from_host);
    }
}
