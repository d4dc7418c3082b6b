//! The compression function of the host, for components.

use crate::Words;

// wit-bindgen's glue is the only unsafe code here.
#[allow(unsafe_code, missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        inline: "package quorate:hashing; world source { import quorate:party/hash@0.1.0; }",
        path: "../../wit/0.1.0",
        world: "quorate:hashing/source",
        generate_all,
    });
}

/// Compresses whole blocks into a state.
pub(crate) fn compress(state: &mut Words, blocks: &[u8]) {
    let [a, b, c, d, e, f, g, h] = *state;
    let (a, b, c, d, e, f, g, h) = bindings::quorate::party::hash::compress((a, b, c, d, e, f, g, h), blocks);
    *state = [a, b, c, d, e, f, g, h];
}
