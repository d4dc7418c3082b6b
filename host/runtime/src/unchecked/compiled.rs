//! Loading compiled code.

use wasmtime::Engine;
use wasmtime::component::Component;

/// Loads code that this host compiled earlier.
///
/// The caller has checked that the bytes carry this host's authentication code: wasmtime runs them as they are,
/// so that anybody who can choose them runs code in this process.
pub(crate) fn load_authenticated(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `bytes` came out of `Component::serialize` in a process with the same key: `CompileCache::load`,
    // the only caller, verifies an HMAC over them first. wasmtime itself checks version and configuration.
    unsafe { Component::deserialize(engine, bytes) }
}
