//! Stands in for the `sha2` 0.11 crate in every plugin (`[patch.crates-io]` in the workspace), so that SHA-256 is compressed with the
//! host's `hash` capability: the processor has instructions for it, which WebAssembly has not.
//!
//! It offers the part of the original's interface that our dependencies use: [`Sha256`], [`Sha224`] and [`Sha512`], with all traits of the
//! `digest` crate. SHA-512 is computed by the component itself.
#![forbid(unsafe_code)]

pub use digest::{self, Digest};

mod blocks;

use digest::block_api::CtOutWrapper;
use digest::consts::{U28, U32, U64};

pub use blocks::{Sha256VarCore, Sha512VarCore};

digest::buffer_fixed!(
    /// SHA-256.
    pub struct Sha256(CtOutWrapper<Sha256VarCore, U32>);
    oid: "2.16.840.1.101.3.4.2.1";
    impl: FixedHashTraits;
);
digest::buffer_fixed!(
    /// SHA-224.
    pub struct Sha224(CtOutWrapper<Sha256VarCore, U28>);
    oid: "2.16.840.1.101.3.4.2.4";
    impl: FixedHashTraits;
);
digest::buffer_fixed!(
    /// SHA-512.
    pub struct Sha512(CtOutWrapper<Sha512VarCore, U64>);
    oid: "2.16.840.1.101.3.4.2.3";
    impl: FixedHashTraits;
);
