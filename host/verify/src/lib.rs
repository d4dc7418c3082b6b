//! Verification by the host of everything that it relies on (rule 7).
//!
//! [`signature`] verifies signatures with libraries that have no part in any plugin, under the key that [`expected_key`] derives;
//! [`proof`] says what a party's report proves by itself, and [`addresses`] derives the addresses of a key.
//!
//! Architecture invariant: this crate depends on `quorate-core` alone. What verifies can't be reached by what signs.

pub mod addresses;
pub mod error;
pub mod expected_key;
pub mod proof;
pub mod signature;
