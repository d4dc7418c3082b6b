//! Schnorr signatures for Taproot (BIP-340, BIP-341) on secp256k1.
//!
//! The account's key is the *output* key of BIP-341, with an even y: the library's key generation has already added the tweak that
//! commits to no script. Without a merkle root it signs as it is. With one it is the *internal* key of another output, and the
//! library adds that output's tweak.

use frost_secp256k1_tr::Secp256K1Sha256TR;
use frost_secp256k1_tr::keys::{EvenY, Tweak};
use quorate_plugin_sdk::{
    Descriptor, Failure, HashFunction, Host, Protocol, Roster, Session, SignItem, Task,
};
use sha2::{Digest, Sha256};
use sha3::Keccak256;

use crate::failure::{Refusal, refused};
use crate::protocol::{describe, start};
use crate::suite::{Packages, Suite};

/// The plugin `frost-secp256k1-tr`.
pub struct FrostSecp256k1Taproot;

impl Protocol for FrostSecp256k1Taproot {
    fn describe() -> Descriptor {
        describe::<Secp256K1Sha256TR>()
    }

    fn start(host: &mut dyn Host, roster: Roster, task: Task) -> Result<Box<dyn Session>, Failure> {
        start::<Secp256K1Sha256TR>(host, &roster, task)
    }
}

impl Suite for Secp256K1Sha256TR {
    const PROTOCOL: &'static str = "frost-secp256k1-tr";
    const SCHEME: &'static str = "bip340";

    fn message(item: &SignItem) -> Result<Vec<u8>, Failure> {
        let message = &item.message;
        Ok(match item.hash {
            HashFunction::None if message.len() != 32 => return Err(refused(Refusal::DigestLength)),
            HashFunction::None => message.clone(),
            HashFunction::Keccak256 => Keccak256::digest(message).to_vec(),
            HashFunction::Sha256 => Sha256::digest(message).to_vec(),
            HashFunction::Sha256d => Sha256::digest(Sha256::digest(message)).to_vec(),
        })
    }

    /// Once, of both packages: BIP-340 encodes no sign, and what is kept, published and signed with is the key with the even y.
    fn normalise(packages: Packages<Self>) -> Packages<Self> {
        let is_even = packages.public.has_even_y();
        Packages {
            key: packages.key.into_even_y(Some(is_even)),
            public: packages.public.into_even_y(Some(is_even)),
        }
    }

    fn is_normal(packages: &Packages<Self>) -> bool {
        packages.public.has_even_y() && packages.key.has_even_y()
    }

    fn for_item(packages: Packages<Self>, item: &SignItem) -> Packages<Self> {
        // Never the library's tweak without a root: the key has it already.
        match &item.merkle_root {
            Some(root) => {
                Packages { key: packages.key.tweak(Some(root)), public: packages.public.tweak(Some(root)) }
            }
            None => packages,
        }
    }

    /// Without the byte that tells the sign of y (BIP-340).
    fn public_key(encoded: Vec<u8>) -> Vec<u8> {
        encoded.into_iter().skip(1).collect()
    }

    /// With it: keys are kept with the even y.
    fn library_key(public_key: &[u8]) -> Vec<u8> {
        [&[2], public_key].concat()
    }
}
