//! Ed25519 (RFC 8032): the suite FROST(Ed25519, SHA-512) of RFC 9591, section 6.1.

use frost_ed25519::Ed25519Sha512;
use quorate_plugin_sdk::{
    Descriptor, Failure, HashFunction, Host, Protocol, Roster, Session, SignItem, Task,
};

use crate::failure::{Refusal, refused};
use crate::protocol::{describe, start};
use crate::suite::{Packages, Suite};

/// The plugin `frost-ed25519`.
pub struct FrostEd25519;

impl Protocol for FrostEd25519 {
    fn describe() -> Descriptor {
        describe::<Ed25519Sha512>()
    }

    fn start(host: &mut dyn Host, roster: Roster, task: Task) -> Result<Box<dyn Session>, Failure> {
        start::<Ed25519Sha512>(host, &roster, task)
    }
}

impl Suite for Ed25519Sha512 {
    const PROTOCOL: &'static str = "frost-ed25519";
    const SCHEME: &'static str = "ed25519";

    fn message(item: &SignItem) -> Result<Vec<u8>, Failure> {
        if item.hash != HashFunction::None {
            return Err(refused(Refusal::Hash));
        }
        if item.merkle_root.is_some() {
            return Err(refused(Refusal::MerkleRoot));
        }
        Ok(item.message.clone())
    }

    fn normalise(packages: Packages<Self>) -> Packages<Self> {
        packages
    }

    fn is_normal(_: &Packages<Self>) -> bool {
        true
    }

    fn for_item(packages: Packages<Self>, _: &SignItem) -> Packages<Self> {
        packages
    }

    fn public_key(encoded: Vec<u8>) -> Vec<u8> {
        encoded
    }

    fn library_key(public_key: &[u8]) -> Vec<u8> {
        public_key.to_vec()
    }
}
