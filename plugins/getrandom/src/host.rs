//! Randomness from the host, for components.

use crate::Error;

// wit-bindgen's glue is the only unsafe code here.
#[allow(unsafe_code, missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        inline: "package quorate:randomness; world source { import quorate:party/entropy@0.1.0; }",
        path: "../../wit/0.1.0",
        world: "quorate:randomness/source",
        generate_all,
    });
}

/// The most the host gives in one call (`entropy.fill` in the contract).
const MOST_AT_ONCE: usize = 65_536;

pub(crate) fn fill(dest: &mut [u8]) -> Result<(), Error> {
    for part in dest.chunks_mut(MOST_AT_ONCE) {
        // `part` is at most 65536 bytes long, so its length fits.
        let mut bytes = bindings::quorate::party::entropy::fill(part.len() as u32);
        part.copy_from_slice(&bytes);
        // Libraries seed their generators with these bytes.
        zeroize::Zeroize::zeroize(&mut bytes);
    }
    Ok(())
}
