//! What differs between the two ciphersuites.

use frost_core::Ciphersuite;
use frost_core::keys::{KeyPackage, PublicKeyPackage};
use quorate_plugin_sdk::{Failure, SignItem};

/// A party's part of a key and its public side, as the library has them.
pub(crate) struct Packages<S: Ciphersuite> {
    pub(crate) key: KeyPackage<S>,
    pub(crate) public: PublicKeyPackage<S>,
}

/// A ciphersuite of the library, as the contract sees it.
pub(crate) trait Suite: Ciphersuite + 'static {
    /// The name of the protocol.
    const PROTOCOL: &'static str;
    /// The signature scheme.
    const SCHEME: &'static str;

    /// The bytes that are signed for an item, or why it can't be signed with this suite.
    fn message(item: &SignItem) -> Result<Vec<u8>, Failure>;

    /// The form in which new packages are kept.
    fn normalise(packages: Packages<Self>) -> Packages<Self>;

    /// Whether packages are in the form in which they are kept.
    fn is_normal(packages: &Packages<Self>) -> bool;

    /// The packages of the key that signs an item.
    fn for_item(packages: Packages<Self>, item: &SignItem) -> Packages<Self>;

    /// The public key in the contract's encoding, of the library's.
    fn public_key(encoded: Vec<u8>) -> Vec<u8>;

    /// The library's encoding of a public key in the contract's.
    fn library_key(public_key: &[u8]) -> Vec<u8>;
}
