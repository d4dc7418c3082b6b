//! Stands in for the `sha2` 0.10 crate in every plugin (`[patch.crates-io]` in the workspace), so that SHA-256 is compressed with the
//! host's `hash` capability: the processor has instructions for it, which WebAssembly has not.
//!
//! It offers the part of the original's interface that our dependencies use: [`Sha256`], [`Sha224`] and [`Sha512`], with all traits of the
//! `digest` crate. SHA-512 is computed by the component itself.
#![forbid(unsafe_code)]

pub use digest::{self, Digest};

mod blocks;

use digest::consts::{U28, U32, U64};
use digest::core_api::{CoreWrapper, CtVariableCoreWrapper};
use digest::impl_oid_carrier;

pub use blocks::{Sha256VarCore, Sha512VarCore};

impl_oid_carrier!(OidSha256, "2.16.840.1.101.3.4.2.1");
impl_oid_carrier!(OidSha224, "2.16.840.1.101.3.4.2.4");
impl_oid_carrier!(OidSha512, "2.16.840.1.101.3.4.2.3");

/// SHA-256.
pub type Sha256 = CoreWrapper<CtVariableCoreWrapper<Sha256VarCore, U32, OidSha256>>;
/// SHA-224.
pub type Sha224 = CoreWrapper<CtVariableCoreWrapper<Sha256VarCore, U28, OidSha224>>;
/// SHA-512.
pub type Sha512 = CoreWrapper<CtVariableCoreWrapper<Sha512VarCore, U64, OidSha512>>;
