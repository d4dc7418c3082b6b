//! The components that `make plugins` built.

use std::path::PathBuf;

/// The folder they are in: `QUORATE_PLUGINS`, or `target/plugins` of this checkout.
#[must_use]
pub fn folder() -> PathBuf {
    std::env::var_os("QUORATE_PLUGINS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/plugins"), PathBuf::from)
}

/// The bytes of one component.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn bytes(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}: run `make plugins` first", path.display()))
}
