//! FROST and CGGMP24 in the sandbox: the contract carries protocols other than the one it was first written for.

use ed25519_dalek::{Signature as Ed25519, VerifyingKey};
use quorate_kit::{Parties, message};
use quorate_runtime::{ComponentOutcome, SignTask, Task};
use secp256k1::{Secp256k1, XOnlyPublicKey, schnorr};

use quorate_tests::sandbox_tasks::{keygen, load, sign};

#[tokio::test]
async fn frost_makes_keys_and_signs_with_both_schemes_in_the_sandbox() {
    for (name, scheme) in [("frost-ed25519", "ed25519"), ("frost-secp256k1-tr", "bip340")] {
        let plugin = load(name).await;
        let mut parties = Parties::new(3, 5);
        let task = Task::Keygen { scheme: scheme.into() };
        let ComponentOutcome::Key(key) = parties.run(&plugin, &parties.all(), &task).await else { panic!() };
        let key = key.outputs.public_key.0;
        for _ in 0..2 {
            let task = Task::Sign(SignTask::new(scheme, &message(vec![7; 32]).into()));
            let ComponentOutcome::Signatures(signatures) = parties.run(&plugin, &[1, 3, 5], &task).await
            else {
                panic!()
            };
            let [signature] = signatures.try_into().unwrap();
            if scheme == "ed25519" {
                let key = VerifyingKey::from_bytes(key.as_slice().try_into().unwrap()).unwrap();
                key.verify_strict(&[7; 32], &Ed25519::from_bytes(&signature.bytes)).unwrap();
            } else {
                let key = XOnlyPublicKey::from_byte_array(key.as_slice().try_into().unwrap()).unwrap();
                let signature = schnorr::Signature::from_byte_array(signature.bytes);
                Secp256k1::new().verify_schnorr(&signature, &[7; 32], &key).unwrap();
            }
            let ComponentOutcome::Refreshed(refreshed) =
                parties.run(&plugin, &parties.all(), &Task::Refresh).await
            else {
                panic!()
            };
            assert_eq!(refreshed.outputs.public_key.0, key);
        }
    }
}

#[tokio::test]
async fn cggmp24_makes_primes_auxiliary_data_a_key_and_signs_in_the_sandbox() {
    let plugin = load("cggmp24").await;
    let mut parties = Parties::new(2, 2);
    for party in [1, 2] {
        parties.run(&plugin, &[party], &Task::Prepare { items: 1 }).await;
    }
    parties.run(&plugin, &[1, 2], &Task::Auxiliary).await;
    let ComponentOutcome::Key(key) = parties.run(&plugin, &[1, 2], &keygen()).await else { panic!() };
    let ComponentOutcome::Signatures(signatures) = parties.run(&plugin, &[1, 2], &sign([7; 32])).await else {
        panic!()
    };
    let [signature] = signatures.try_into().unwrap();
    let secp = Secp256k1::new();
    secp.verify_ecdsa(
        secp256k1::Message::from_digest([7; 32]),
        &secp256k1::ecdsa::Signature::from_compact(&signature.bytes).unwrap(),
        &secp256k1::PublicKey::from_slice(&key.outputs.public_key.0).unwrap(),
    )
    .unwrap();
}
