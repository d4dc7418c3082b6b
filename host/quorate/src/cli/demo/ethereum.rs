//! An Ethereum transaction (EIP-1559). alloy's RLP writes and reads its bytes, and libsecp256k1 recovers its sender:
//! neither has a part in signing it.

use alloy_primitives::{Address, U256, address, keccak256};
use alloy_rlp::{Bytes, RlpDecodable, RlpEncodable};
use bitcoin::secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use bitcoin::secp256k1::{Message, Secp256k1};

/// The chain that the demo's transactions are for: Sepolia, where nothing is worth anything.
pub(super) const CHAIN_ID: u64 = 11_155_111;

/// The account that the demo pays.
const PAYEE: Address = address!("d8dA6BF26964aF9D7eEd9e03E53415D37aA96045");

/// The type of these transactions (EIP-2718): the first of their bytes.
const TRANSACTION_TYPE: u8 = 2;

/// The fields of a payment, in the order in which they are hashed. Fees and value are in wei.
#[derive(Debug, RlpEncodable)]
pub(super) struct Payment {
    chain_id: u64,
    nonce: u64,
    max_priority_fee_per_gas: u64,
    max_fee_per_gas: u64,
    gas_limit: u64,
    to: Address,
    value: u64,
    input: Bytes,
    /// Always empty here; its entries would be lists.
    access_list: Vec<Bytes>,
}

/// The same fields, and the signature: what a node is sent.
#[derive(RlpEncodable, RlpDecodable)]
struct SignedPayment {
    chain_id: u64,
    nonce: u64,
    max_priority_fee_per_gas: u64,
    max_fee_per_gas: u64,
    gas_limit: u64,
    to: Address,
    value: u64,
    input: Bytes,
    access_list: Vec<Bytes>,
    y_parity: bool,
    r: U256,
    s: U256,
}

/// Pays a thousandth of an ether.
pub(super) fn payment(nonce: u64) -> Payment {
    Payment {
        chain_id: CHAIN_ID,
        nonce,
        max_priority_fee_per_gas: 1_000_000_000,
        max_fee_per_gas: 30_000_000_000,
        gas_limit: 21_000,
        to: PAYEE,
        value: 1_000_000_000_000_000,
        input: Bytes::new(),
        access_list: vec![],
    }
}

/// The bytes whose Keccak-256 hash is signed.
pub(super) fn unsigned(payment: &Payment) -> Vec<u8> {
    [vec![TRANSACTION_TYPE], alloy_rlp::encode(payment)].concat()
}

/// The signed transaction as it goes to a node; `None` if r and s are no numbers of 32 bytes, or the id is neither 0 nor
/// 1.
pub(super) fn signed(payment: Payment, signature: &[u8], recovery_id: u8) -> Option<Vec<u8>> {
    let (r, s) = signature.split_at_checked(32).filter(|(_, s)| s.len() == 32)?;
    let Payment {
        chain_id,
        nonce,
        max_priority_fee_per_gas,
        max_fee_per_gas,
        gas_limit,
        to,
        value,
        input,
        access_list,
    } = payment;
    let signed = SignedPayment {
        chain_id,
        nonce,
        max_priority_fee_per_gas,
        max_fee_per_gas,
        gas_limit,
        to,
        value,
        input,
        access_list,
        y_parity: match recovery_id {
            0 => false,
            1 => true,
            _ => return None,
        },
        r: U256::from_be_slice(r),
        s: U256::from_be_slice(s),
    };
    Some([vec![TRANSACTION_TYPE], alloy_rlp::encode(signed)].concat())
}

/// Recovers the sender of a raw transaction from its bytes alone, as a node does.
pub(super) fn sender(raw: &[u8]) -> Option<String> {
    let fields = raw.strip_prefix(&[TRANSACTION_TYPE])?;
    let signed: SignedPayment = alloy_rlp::decode_exact(fields).ok()?;
    let (r, s) = (signed.r.to_be_bytes::<32>(), signed.s.to_be_bytes::<32>());
    let payment = Payment {
        chain_id: signed.chain_id,
        nonce: signed.nonce,
        max_priority_fee_per_gas: signed.max_priority_fee_per_gas,
        max_fee_per_gas: signed.max_fee_per_gas,
        gas_limit: signed.gas_limit,
        to: signed.to,
        value: signed.value,
        input: signed.input,
        access_list: signed.access_list,
    };
    let id = RecoveryId::from_i32(i32::from(signed.y_parity)).ok()?;
    let signature = RecoverableSignature::from_compact(&[r, s].concat(), id).ok()?;
    let message = Message::from_digest(keccak256(unsigned(&payment)).0);
    let secp = Secp256k1::verification_only();
    let key = secp.recover_ecdsa(&message, &signature).ok()?;
    // A node refuses a high s (EIP-2), and recovery alone does not.
    secp.verify_ecdsa(&message, &signature.to_standard(), &key).ok()?;
    Some(Address::from_raw_public_key(&key.serialize_uncompressed()[1..]).to_checksum(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with eth-account: its `sign_transaction` of `payment(7)`, with the private key of 32 bytes 01.
    const RAW: &str = "02f87583aa36a707843b9aca008506fc23ac0082520894d8da6bf26964af9d7eed9e03e53415d37aa9604587038d7ea4c6800080c080a08ca68031bb\
                       a41ce77d08753fe0c64ee249264d8601df141d22fed1c842228fcfa00b26254e5faeb68e6ecf409f20dcb9f23112b5c9f27cf8c07fc814924d9f570c";

    #[test]
    fn a_transaction_is_read_as_another_library_wrote_it() {
        let raw = hex::decode(RAW).unwrap();
        let address = "0x1a642f0E3c3aF545E7AcBD38b07251B3990914F1";
        assert_eq!(sender(&raw).as_deref(), Some(address));
        let fields: SignedPayment = alloy_rlp::decode_exact(&raw[1..]).unwrap();
        let signature = [fields.r.to_be_bytes::<32>(), fields.s.to_be_bytes::<32>()].concat();
        assert_eq!(signed(payment(7), &signature, u8::from(fields.y_parity)).unwrap(), raw);
        assert_ne!(sender(&signed(payment(8), &signature, 0).unwrap()).as_deref(), Some(address));
        assert_eq!(sender(&raw[..raw.len() - 1]), None);
        assert_eq!(signed(payment(7), &signature[1..], 0), None);
        assert_eq!(signed(payment(7), &signature, 2), None);
    }

    #[test]
    fn a_high_s_is_refused() {
        let raw = hex::decode(RAW).unwrap();
        let fields: SignedPayment = alloy_rlp::decode_exact(&raw[1..]).unwrap();
        let order: U256 =
            "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141".parse().unwrap();
        let high = (order - fields.s).to_be_bytes::<32>();
        let signature = [fields.r.to_be_bytes::<32>(), high].concat();
        // It is a signature of the same key, and the other one of its two forms.
        let malleated = signed(payment(7), &signature, u8::from(!fields.y_parity)).unwrap();
        assert_eq!(sender(&malleated), None);
    }
}
