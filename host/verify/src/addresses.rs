//! The forms in which callers use a secp256k1 key: encodings, and addresses.

use alloy_primitives::Address as EthereumAddress;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Address as BitcoinAddress, CompressedPublicKey, KnownHrp};

/// A secp256k1 key in the forms that callers use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secp256k1Forms {
    /// 33 bytes, compressed SEC 1.
    pub compressed: [u8; 33],
    /// 65 bytes, uncompressed SEC 1.
    pub uncompressed: [u8; 65],
    /// The Ethereum address, with the checksum of EIP-55.
    pub ethereum: String,
    /// The Bitcoin address on the main network: P2WPKH, BIP-173.
    pub bitcoin: String,
}

impl Secp256k1Forms {
    /// The forms of a public key in SEC 1 encoding; `None` if it is not a point of the curve.
    #[must_use]
    pub fn of(public_key: &[u8]) -> Option<Self> {
        let point = PublicKey::from_slice(public_key).ok()?;
        let uncompressed = point.serialize_uncompressed();
        Some(Self {
            compressed: point.serialize(),
            uncompressed,
            ethereum: EthereumAddress::from_raw_public_key(&uncompressed[1..]).to_checksum(None),
            bitcoin: BitcoinAddress::p2wpkh(&CompressedPublicKey(point), KnownHrp::Mainnet).to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The generator, whose addresses are well known.
    #[test]
    fn addresses_are_those_of_the_key() {
        let generator = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let forms = Secp256k1Forms::of(&hex::decode(generator).unwrap()).unwrap();
        assert_eq!(hex::encode(forms.compressed), generator);
        assert_eq!(Secp256k1Forms::of(&forms.uncompressed), Some(forms.clone()));
        assert_eq!(forms.ethereum, "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf");
        // BIP-173's own example.
        assert_eq!(forms.bitcoin, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4");
        assert_eq!(Secp256k1Forms::of(&[2; 5]), None);
    }
}
