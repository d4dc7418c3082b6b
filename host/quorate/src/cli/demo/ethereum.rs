//! An Ethereum transaction (EIP-1559), built and checked with alloy, which has no part in signing it.

use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, address};

/// The chain that the demo's transactions are for: Sepolia, where nothing is worth anything.
pub(super) const CHAIN_ID: u64 = 11_155_111;

/// The account that the demo pays.
const PAYEE: Address = address!("d8dA6BF26964aF9D7eEd9e03E53415D37aA96045");

/// Pays a thousandth of an ether.
pub(super) fn payment(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 30_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(PAYEE),
        value: U256::from(1_000_000_000_000_000_u64),
        access_list: Default::default(),
        input: Bytes::default(),
    }
}

/// The bytes whose Keccak-256 hash is signed.
pub(super) fn unsigned(transaction: &TxEip1559) -> Vec<u8> {
    transaction.encoded_for_signing()
}

/// The signed transaction as it goes to a node; `None` if r and s are no numbers of 32 bytes.
pub(super) fn signed(transaction: TxEip1559, signature: &[u8], recovery_id: u8) -> Option<Vec<u8>> {
    if signature.len() != 64 {
        return None;
    }
    let signature = Signature::from_bytes_and_parity(signature, recovery_id == 1);
    Some(TxEnvelope::from(transaction.into_signed(signature)).encoded_2718())
}

/// Recovers the sender of a raw transaction from its bytes alone, as a node does.
pub(super) fn sender(raw: &[u8]) -> Option<String> {
    let transaction = TxEnvelope::decode_2718_exact(raw).ok()?;
    Some(transaction.recover_signer().ok()?.to_checksum(None))
}
