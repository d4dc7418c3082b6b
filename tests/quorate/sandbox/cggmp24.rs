//! CGGMP24 in the sandbox: the contract carries it.

use quorate_kit::Parties;
use quorate_runtime::{ComponentOutcome, Task};
use secp256k1::Secp256k1;

use quorate_tests::sandbox_tasks::{keygen, load, sign};

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
