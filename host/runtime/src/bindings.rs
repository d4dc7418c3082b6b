//! The contract's types and exports, generated from `wit/`. Imports are bound by hand in
//! [`linker`](crate::linker): secrets must not pass through buffers that are never wiped.
#![allow(missing_docs, unreachable_pub, dead_code, unused_qualifications, clippy::all, clippy::pedantic)]

wasmtime::component::bindgen!({
    path: "../../wit/0.1.0",
    world: "plugin",
    exports: { default: async },
});
