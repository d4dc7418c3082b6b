//! Stands in for the `getrandom` 0.4 crate in every plugin (`[patch.crates-io]` in the workspace), so that
//! whatever a protocol library asks of it comes from the host's `entropy` capability and from nowhere else.
//!
//! It offers the part of the original's interface that our dependencies use: [`fill`], [`u32()`], [`u64()`],
//! [`Error`] and, with the feature `sys_rng`, [`SysRng`]. On native targets, where plugin code is tested and
//! benchmarked, the operating system answers.
//!
//! Invariant: no other source. There is no fallback and no feature that adds one.
#![deny(unsafe_code)]

#[cfg(feature = "sys_rng")]
pub use rand_core;

#[cfg(feature = "sys_rng")]
mod sys_rng;
#[cfg(feature = "sys_rng")]
pub use sys_rng::SysRng;

#[cfg_attr(target_arch = "wasm32", path = "host.rs")]
#[cfg_attr(not(target_arch = "wasm32"), path = "native.rs")]
mod source;

/// No randomness could be had. Only native builds can see it: in a component the host traps instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error;

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the operating system gave no randomness")
    }
}

impl core::error::Error for Error {}

/// Fills `dest` with random bytes.
///
/// # Errors
/// On native targets, when the operating system fails.
pub fn fill(dest: &mut [u8]) -> Result<(), Error> {
    source::fill(dest)
}

/// A random `u32`.
///
/// # Errors
/// As [`fill`].
pub fn u32() -> Result<u32, Error> {
    let mut bytes = [0; 4];
    fill(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

/// A random `u64`.
///
/// # Errors
/// As [`fill`].
pub fn u64() -> Result<u64, Error> {
    let mut bytes = [0; 8];
    fill(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
