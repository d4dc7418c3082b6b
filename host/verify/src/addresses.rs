//! The forms in which callers use a key: encodings, and addresses.

use alloy_primitives::Address as EthereumAddress;
use bitcoin::key::TweakedPublicKey;
use bitcoin::secp256k1::{PublicKey, XOnlyPublicKey};
use bitcoin::{Address as BitcoinAddress, CompressedPublicKey, KnownHrp, base58};

use crate::expected_key::{is_canonical_key, output_key};

/// A key in the forms that callers use. A form that the key's scheme does not have is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyForms {
    /// Of an ECDSA key: 65 bytes, uncompressed SEC 1.
    pub uncompressed: Option<[u8; 65]>,
    /// Of an ECDSA key: the Ethereum address, with the checksum of EIP-55.
    pub ethereum: Option<String>,
    /// The Bitcoin address on the main network: P2WPKH (BIP-173) of an ECDSA key, P2TR (BIP-350) of a key for BIP-340.
    pub bitcoin: Option<String>,
    /// Of an Ed25519 key: the Solana address.
    pub solana: Option<String>,
}

impl KeyForms {
    /// The forms of an account's key; `None` if it is no key of its scheme.
    #[must_use]
    pub fn of(scheme: &str, key: &[u8]) -> Option<Self> {
        if !is_canonical_key(scheme, key) {
            return None;
        }
        Some(match scheme {
            "ed25519" => Self { solana: Some(base58::encode(key)), ..Self::default() },
            "bip340" => {
                let key = XOnlyPublicKey::from_slice(key).ok()?;
                Self { bitcoin: Some(taproot_address(key)), ..Self::default() }
            }
            _ => {
                let point = PublicKey::from_slice(key).ok()?;
                let uncompressed = point.serialize_uncompressed();
                let bitcoin = BitcoinAddress::p2wpkh(&CompressedPublicKey(point), KnownHrp::Mainnet);
                Self {
                    uncompressed: Some(uncompressed),
                    ethereum: Some(
                        EthereumAddress::from_raw_public_key(&uncompressed[1..]).to_checksum(None),
                    ),
                    bitcoin: Some(bitcoin.to_string()),
                    solana: None,
                }
            }
        })
    }
}

/// The output that a key for BIP-340 makes, as internal key, with the merkle root of scripts (BIP-341).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaprootOutput {
    /// The output key.
    pub key: [u8; 32],
    /// Its address on the main network: P2TR.
    pub address: String,
}

impl TaprootOutput {
    /// The output of an account's key; `None` if that is no key.
    #[must_use]
    pub fn of(key: &[u8], merkle_root: [u8; 32]) -> Option<Self> {
        let output = output_key(XOnlyPublicKey::from_slice(key).ok()?, merkle_root);
        Some(Self { key: output.serialize(), address: taproot_address(output) })
    }
}

/// The P2TR address of an output key. The key is used as it is: the key generation or [`output_key`] has already added a tweak.
fn taproot_address(output: XOnlyPublicKey) -> String {
    BitcoinAddress::p2tr_tweaked(TweakedPublicKey::dangerous_assume_tweaked(output), KnownHrp::Mainnet)
        .to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The generator, whose addresses are well known.
    #[test]
    fn addresses_are_those_of_the_key() {
        let generator = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let generator = hex::decode(generator).unwrap();
        let forms = KeyForms::of("ecdsa-secp256k1", &generator).unwrap();
        assert_eq!(forms.ethereum.as_deref(), Some("0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"));
        // BIP-173's own example.
        assert_eq!(forms.bitcoin.as_deref(), Some("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"));
        assert_eq!(forms.solana, None);
        for scheme in ["ecdsa-secp256k1", "ed25519", "bip340"] {
            assert_eq!(KeyForms::of(scheme, &[2; 5]), None);
        }
        // BIP-350's own example, of the same x.
        let taproot = KeyForms::of("bip340", &generator[1..]).unwrap();
        let address = "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0";
        assert_eq!(taproot, KeyForms { bitcoin: Some(address.into()), ..KeyForms::default() });
    }

    /// The first test vector of BIP-341 that has a script.
    #[test]
    fn an_output_with_scripts_is_that_of_bip_341() {
        let internal =
            hex::decode("187791b6f712a8ea41c8ecdd0ee77fab3e85263b37e1ec18a3651926b3a6cf27").unwrap();
        let root = hex::decode("5b75adecf53548f3ec6ad7d78383bf84cc57b55a3127c72b9a2481752dd88b21").unwrap();
        let output = TaprootOutput::of(&internal, root.try_into().unwrap()).unwrap();
        let key = "147c9c57132f6e7ecddba9800bb0c4449251c92a1e60371ee77557b6620f3ea3";
        assert_eq!(hex::encode(output.key), key);
        assert_eq!(output.address, "bc1pz37fc4cn9ah8anwm4xqqhvxygjf9rjf2resrw8h8w4tmvcs0863sa2e586");
    }

    #[test]
    fn a_solana_address_is_the_key_in_base_58() {
        // RFC 8032, section 7.1, test 1.
        let key = hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap();
        let forms = KeyForms::of("ed25519", &key).unwrap();
        let address = "FVen3X669xLzsi6N2V91DoiyzHzg1uAgqiT8jZ9nS96Z";
        assert_eq!(forms, KeyForms { solana: Some(address.into()), ..KeyForms::default() });
    }
}
