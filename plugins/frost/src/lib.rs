//! FROST: threshold Schnorr signatures for any 2 ≤ t ≤ n ≤ 16, for two Quorate plugins.
//!
//! | plugin | feature | signatures |
//! |---|---|---|
//! | `frost-ed25519` | `ed25519` | Ed25519 ([RFC 8032](https://www.rfc-editor.org/rfc/rfc8032)), as any wallet verifies them |
//! | `frost-secp256k1-tr` | `secp256k1-tr` | Schnorr signatures for Taproot ([BIP-340](https://bips.dev/340), [BIP-341](https://bips.dev/341)) |
//!
//! The protocol is [RFC 9591](https://www.rfc-editor.org/rfc/rfc9591), with the key generation of
//! [Komlo and Goldberg](https://eprint.iacr.org/2020/852); the library is `frost-core`. This crate is glue: it lays the library's
//! parts out as rounds, checks what the library leaves to its caller, and turns its errors into the contract's failures.
//!
//! Invariants:
//! - a party's identifier is its index;
//! - the library has no slot for a context in its key generation, so every package of it is bound to the session ([`package`]);
//! - all parties have the same packages of round 1, of a key generation, a refresh or a signing: they travel by reliable broadcast;
//! - nothing that a party combines depends on the order in which messages come;
//! - a failure names the parties that the library proves at fault and never bans: a cheat learns nothing about the key.

#[cfg(feature = "ed25519")]
mod ed25519;
mod failure;
mod keygen;
mod package;
mod polynomial;
mod presign;
mod protocol;
mod refresh;
mod repair;
#[cfg(feature = "secp256k1-tr")]
mod secp256k1_tr;
mod share;
mod sign;
mod suite;

#[cfg(feature = "ed25519")]
pub use ed25519::FrostEd25519;
#[cfg(feature = "secp256k1-tr")]
pub use secp256k1_tr::FrostSecp256k1Taproot;
