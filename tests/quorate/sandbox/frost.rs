//! FROST in the sandbox, for both schemes.

use ed25519_dalek::{Signature as Ed25519, VerifyingKey};
use quorate_core::certificate::KeyOutputs;
use quorate_core::order::SignItems;
use quorate_kit::{Parties, message};
use quorate_runtime::{ComponentOutcome, Plugin, SignTask, Task};
use secp256k1::{Secp256k1, XOnlyPublicKey, schnorr};

use quorate_tests::sandbox_tasks::load;

async fn new_key(parties: &mut Parties, plugin: &Plugin, scheme: &str) -> KeyOutputs {
    let task = Task::Keygen { scheme: scheme.into() };
    let ComponentOutcome::Key(key) = parties.run(plugin, &parties.all(), &task).await else { panic!() };
    key.outputs
}

/// Signs messages together, and verifies each signature.
async fn assert_signs(
    parties: &mut Parties,
    plugin: &Plugin,
    (scheme, key): (&str, &[u8]),
    signers: &[u16],
    messages: &[Vec<u8>],
) {
    let items = messages.iter().map(|bytes| message(bytes.clone())).collect();
    let task = Task::Sign(SignTask::new(scheme, &SignItems::new(items).unwrap()));
    let ComponentOutcome::Signatures(signatures) = parties.run(plugin, signers, &task).await else {
        panic!()
    };
    assert_eq!(signatures.len(), messages.len());
    let key: [u8; 32] = key.try_into().unwrap();
    for (signature, message) in signatures.iter().zip(messages) {
        if scheme == "ed25519" {
            let key = VerifyingKey::from_bytes(&key).unwrap();
            key.verify_strict(message, &Ed25519::from_bytes(&signature.bytes)).unwrap();
        } else {
            let key = XOnlyPublicKey::from_byte_array(key).unwrap();
            let signature = schnorr::Signature::from_byte_array(signature.bytes);
            Secp256k1::new().verify_schnorr(&signature, message, &key).unwrap();
        }
    }
}

#[tokio::test]
async fn frost_makes_keys_and_signs_with_both_schemes_in_the_sandbox() {
    for (name, scheme) in [("frost-ed25519", "ed25519"), ("frost-secp256k1-tr", "bip340")] {
        let plugin = load(name).await;
        let mut parties = Parties::new(3, 5);
        let outputs = new_key(&mut parties, &plugin, scheme).await;
        let key = outputs.public_key.0.clone();
        let repaired = parties.repair(&plugin, &outputs, &[1, 4]).await;
        assert_eq!(repaired.public_key, outputs.public_key);
        for _ in 0..2 {
            assert_signs(&mut parties, &plugin, (scheme, &key), &[1, 3, 5], &[vec![7; 32]]).await;
            let ComponentOutcome::Refreshed(refreshed) =
                parties.run(&plugin, &parties.all(), &Task::Refresh).await
            else {
                panic!()
            };
            assert_eq!(refreshed.outputs.public_key.0, key);
        }
    }
}

/// The API takes messages of 128 KiB together, each of at most 32 KiB.
#[tokio::test]
async fn the_largest_requests_take_no_more_than_the_plugins_have_announced() {
    for (name, scheme, largest) in
        [("frost-ed25519", "ed25519", 32 << 10), ("frost-secp256k1-tr", "bip340", 32)]
    {
        let plugin = load(name).await;
        for (t, n) in [(2, 2), (2, 16), (8, 16), (16, 16)] {
            let mut parties = Parties::new(t, n);
            let outputs = new_key(&mut parties, &plugin, scheme).await;
            let key = outputs.public_key.0.clone();
            let signers: Vec<u16> = (1..=t).collect();
            // As many as t parties can repair.
            let lost: Vec<u16> = (t + 1..=n).collect();
            if !lost.is_empty() {
                parties.repair(&plugin, &outputs, &lost).await;
            }
            for (items, bytes) in [(1, largest), (4, largest), (64, largest.min(2 << 10))] {
                let messages = vec![vec![7; bytes]; items];
                assert_signs(&mut parties, &plugin, (scheme, &key), &signers, &messages).await;
            }
            for count in [1, 256] {
                let made = parties.run(&plugin, &signers, &Task::Presign { count }).await;
                assert_eq!(made, ComponentOutcome::Presignatures(count));
            }
        }
    }
}
