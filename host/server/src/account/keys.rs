//! Keys, addresses and signatures in the forms that callers use.

use alloy_primitives::Address as EthereumAddress;
use bitcoin::secp256k1::PublicKey;
use bitcoin::secp256k1::ecdsa::Signature as Ecdsa;
use bitcoin::{Address as BitcoinAddress, CompressedPublicKey, KnownHrp};
use quorate_core::certificate::{Certificate, KeyOutputs};
use quorate_runtime::Signature;

use super::views::{KeyView, SignatureView};

/// What callers see of a key; `None` if it is no point.
pub(super) fn key_view(certificate: &Certificate, key: &KeyOutputs) -> Option<KeyView> {
    let point = PublicKey::from_slice(&key.public_key.0).ok()?;
    let uncompressed = point.serialize_uncompressed();
    Some(KeyView {
        plugin_digest: certificate.activation.digest.to_string(),
        public_key: hex::encode(point.serialize()),
        public_key_uncompressed: hex::encode(uncompressed),
        chain_code: key.chain_code.map(hex::encode),
        ethereum_address: EthereumAddress::from_raw_public_key(&uncompressed[1..]).to_checksum(None),
        bitcoin_address: BitcoinAddress::p2wpkh(&CompressedPublicKey(point), KnownHrp::Mainnet).to_string(),
    })
}

/// Puts a signature that has been verified into its forms.
pub(super) fn put_signature(view: &mut SignatureView, signature: &Signature) {
    let (r, s) = signature.bytes.split_at(32);
    view.r = hex::encode(r);
    view.s = hex::encode(s);
    view.recovery_id = signature.recovery_id.unwrap_or_default();
    view.signature = hex::encode(signature.bytes);
    view.der = Ecdsa::from_compact(&signature.bytes).map(|ecdsa| ecdsa.to_string()).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use quorate_core::codec::Bytes;

    use super::*;

    /// The generator, whose addresses are well known.
    #[test]
    fn addresses_are_those_of_the_key() {
        let generator = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let key = KeyOutputs {
            scheme: "ecdsa-secp256k1".into(),
            public_key: Bytes(hex::decode(generator).unwrap()),
            chain_code: None,
            verifying_shares: vec![],
        };
        let certificate = crate::account::tests::certificate(&key);
        let view = key_view(&certificate, &key).unwrap();
        assert_eq!(view.public_key, generator);
        assert_eq!(view.public_key_uncompressed.len(), 130);
        assert_eq!(view.ethereum_address, "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf");
        // BIP-173's own example.
        assert_eq!(view.bitcoin_address, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4");
        let none = KeyOutputs { public_key: Bytes(vec![2; 5]), ..key };
        assert_eq!(key_view(&certificate, &none), None);
    }
}
