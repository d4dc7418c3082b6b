//! Accounts of every scheme beside each other, in one deployment with three components. What they sign is verified by
//! ed25519-dalek, libsecp256k1 and rust-bitcoin.

use bitcoin::hashes::Hash;
use bitcoin::key::{TapTweak, TweakedPublicKey};
use bitcoin::secp256k1::{Secp256k1, XOnlyPublicKey};
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::taproot::TaprootBuilder;
use bitcoin::{
    Address, Amount, KnownHrp, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness,
    absolute, transaction,
};
use quorate::config::LimitsConfig;
use quorate_tests::embedded::{Caller, Deployment, Reply};
use quorate_tests::verification::assert_signs;
use serde_json::{Value, json};

use crate::schnorr::{assert_bip340, assert_ed25519, bytes};

const COMPONENTS: [&str; 3] = ["dkls23", "frost-ed25519", "frost-secp256k1-tr"];

async fn start() -> Deployment {
    Deployment::start_components(3, LimitsConfig::default(), &COMPONENTS).await
}

async fn create(caller: &Caller, scheme: &str) -> Reply {
    let body = json!({ "user_id": "user123", "scheme": scheme });
    caller.post("/api/v1/accounts", &body).await.good()
}

async fn sign(caller: &Caller, account: &Reply, body: Value) -> Reply {
    caller.post(&format!("/api/v1/accounts/{}/sign", account.text("id")), &body).await
}

#[tokio::test]
async fn accounts_of_three_schemes_sign_and_are_refreshed_in_one_deployment() {
    let mut deployment = start().await;
    let caller = deployment.caller().clone();
    let ecdsa = create(&caller, "ecdsa-secp256k1").await;
    let ed25519 = create(&caller, "ed25519").await;
    let bip340 = create(&caller, "bip340").await;
    for (account, protocol) in
        [(&ecdsa, "dkls23"), (&ed25519, "frost-ed25519"), (&bip340, "frost-secp256k1-tr")]
    {
        assert_eq!(account.text("protocol"), protocol);
    }
    let solana: [u8; 32] = bytes(ed25519.text("public_key"));
    assert_eq!(bitcoin::base58::decode(ed25519.text("solana_address")).unwrap(), solana);
    let taproot = XOnlyPublicKey::from_slice(&bytes::<32>(bip340.text("public_key"))).unwrap();
    let address =
        Address::p2tr_tweaked(TweakedPublicKey::dangerous_assume_tweaked(taproot), KnownHrp::Mainnet);
    assert_eq!(bip340.text("bitcoin_address"), address.to_string());
    for (account, absent) in [
        (&ecdsa, ["solana_address", "taproot_output"].as_slice()),
        (&ed25519, &["bitcoin_address", "ethereum_address", "chain_code", "public_key_uncompressed"]),
        (&bip340, &["solana_address", "ethereum_address", "chain_code", "public_key_uncompressed"]),
    ] {
        for field in absent {
            assert!(account.body.get(*field).is_none(), "{field}: {}", account.body);
        }
    }

    let check = async |caller: &Caller| {
        assert_signs(&sign(caller, &ecdsa, json!({ "message": "07".repeat(32) })).await.good(), [7; 32]);
        let text = "a message of any length";
        let signed = sign(caller, &ed25519, json!({ "message": hex::encode(text) })).await.good();
        assert_ed25519(&signed, text.as_bytes(), ed25519.text("public_key"));
        let session = caller.get(&format!("/api/v1/sessions/{}", signed.text("session_id"))).await.good();
        assert_ed25519(&session.item(0), text.as_bytes(), ed25519.text("public_key"));
        let body =
            json!({ "items": [{ "message": "08".repeat(32) }, { "message": "09", "hash": "sha256" }] });
        let signed = sign(caller, &bip340, body).await.good();
        assert_bip340(&signed.item(0), [8; 32], taproot);
        let hashed = bitcoin::hashes::sha256::Hash::hash(&[9]).to_byte_array();
        assert_bip340(&signed.item(1), hashed, taproot);
    };
    check(&caller).await;
    for account in [&ed25519, &bip340] {
        let path = format!("/api/v1/accounts/{}/refresh", account.text("id"));
        let refreshed = caller.post(&path, &json!({})).await.good();
        assert_eq!(refreshed.text("public_key"), account.text("public_key"));
        assert_eq!(refreshed.body["epoch"], 2);
    }
    check(&caller).await;
    deployment.restart().await;
    check(deployment.caller()).await;
}

/// A transaction that spends one output, and the digest of BIP-341 for spending it by its key.
fn spend(script: &ScriptBuf) -> (Transaction, [u8; 32]) {
    let spent = TxOut { value: Amount::from_sat(100_000), script_pubkey: script.clone() };
    let transaction = Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint { txid: Txid::from_byte_array([3; 32]), vout: 0 },
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: Amount::from_sat(99_000), script_pubkey: script.clone() }],
    };
    let mut cache = SighashCache::new(&transaction);
    let digest = cache
        .taproot_key_spend_signature_hash(0, &Prevouts::All(&[spent]), TapSighashType::Default)
        .unwrap()
        .to_byte_array();
    (transaction, digest)
}

#[tokio::test]
async fn outputs_with_and_without_scripts_are_signed_for_under_their_key() {
    let deployment = start().await;
    let caller = deployment.caller();
    let account = create(caller, "bip340").await;
    let key = XOnlyPublicKey::from_slice(&bytes::<32>(account.text("public_key"))).unwrap();

    let plain = ScriptBuf::new_p2tr_tweaked(TweakedPublicKey::dangerous_assume_tweaked(key));
    let address = account.text("bitcoin_address").parse::<Address<_>>().unwrap().assume_checked();
    assert_eq!(address.script_pubkey(), plain);
    let (_, digest) = spend(&plain);
    let signed = sign(caller, &account, json!({ "message": hex::encode(digest) })).await.good();
    assert_bip340(&signed, digest, key);

    // The account's key as the internal key of an output that commits to a script.
    let tree = TaprootBuilder::new().add_leaf(0, ScriptBuf::from_bytes(vec![0x51])).unwrap();
    let secp = Secp256k1::verification_only();
    let tree = tree.finalize(&secp, key).unwrap();
    let root = hex::encode(tree.merkle_root().unwrap().to_byte_array());
    let path = format!("/api/v1/accounts/{}?merkle_root={root}", account.text("id"));
    let shown = caller.get(&path).await.good().body["taproot_output"].clone();
    assert_eq!(shown["merkle_root"], root);
    let script = ScriptBuf::new_p2tr_tweaked(tree.output_key());
    let address = shown["bitcoin_address"].as_str().unwrap().parse::<Address<_>>().unwrap();
    assert_eq!(address.assume_checked().script_pubkey(), script);
    let output = tree.output_key().to_x_only_public_key();
    assert_eq!(shown["public_key"], hex::encode(output.serialize()));
    assert_eq!(output, key.tap_tweak(&secp, tree.merkle_root()).0.to_x_only_public_key());
    let (_, digest) = spend(&script);
    let body = json!({ "items": [
        { "message": hex::encode(digest), "merkle_root": root },
        { "message": hex::encode(digest) },
    ] });
    let signed = sign(caller, &account, body).await.good();
    assert_bip340(&signed.item(0), digest, output);
    assert_bip340(&signed.item(1), digest, key);
}

#[tokio::test]
async fn what_a_scheme_can_not_do_is_refused_before_a_session_with_what_to_change() {
    let deployment = start().await;
    let caller = deployment.caller();
    let ecdsa = create(caller, "ecdsa-secp256k1").await;
    let ed25519 = create(caller, "ed25519").await;
    let bip340 = create(caller, "bip340").await;
    let digest = "07".repeat(32);
    let root = "08".repeat(32);
    for (account, body, code) in [
        (&ed25519, json!({ "message": "07", "hash": "sha256" }), "unknown_hash"),
        (&ed25519, json!({ "message": "07", "path": "m/0" }), "invalid_path"),
        (&ed25519, json!({ "message": "07", "merkle_root": root }), "invalid_merkle_root"),
        (&bip340, json!({ "message": digest, "path": "m/0" }), "invalid_path"),
        (&bip340, json!({ "message": "07" }), "invalid_message"),
        (&bip340, json!({ "message": digest, "merkle_root": "08".repeat(31) }), "invalid_merkle_root"),
        (&bip340, json!({ "items": [{ "message": digest, "merkle_root": "08" }] }), "invalid_merkle_root"),
        (&ecdsa, json!({ "message": digest, "merkle_root": root }), "invalid_merkle_root"),
    ] {
        let refused = sign(caller, account, body.clone()).await;
        assert_eq!((refused.status, refused.text("code")), (422, code), "{body}: {}", refused.body);
        assert!(refused.text("session_id").is_empty());
    }
    for (account, query) in [
        (&ecdsa, format!("merkle_root={root}")),
        (&bip340, "merkle_root=08".into()),
        (&bip340, format!("merkleroot={root}")),
        (&bip340, format!("merkle_root={root}&merkle_root={root}")),
    ] {
        let refused = caller.get(&format!("/api/v1/accounts/{}?{query}", account.text("id"))).await;
        assert_eq!((refused.status, refused.text("code")), (422, "invalid_merkle_root"), "{query}");
    }
    let wrong = json!({ "user_id": "u", "scheme": "ed25519", "protocol": "dkls23" });
    let refused = caller.post("/api/v1/accounts", &wrong).await;
    assert_eq!((refused.status, refused.text("code")), (422, "unknown_protocol"));
    assert!(refused.text("detail").contains("frost-ed25519"), "{}", refused.body);
}
