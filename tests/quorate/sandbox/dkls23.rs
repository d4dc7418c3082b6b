//! DKLs23 in the sandbox, all parties in one process.

use std::sync::OnceLock;

use quorate_core::certificate::KeyOutputs;
use quorate_kit::{Parties, message};
use quorate_runtime::{Grants, Outcome, Plugin, Runtime, RuntimeConfig, SignTask, Task};
use quorate_tests::components;
use quorate_tests::verification::assert_ecdsa;

/// One runtime for all tests: threads and compiled code are shared as in a party's process.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new(RuntimeConfig::default()).unwrap())
}

pub(crate) async fn load(name: &str) -> Plugin {
    runtime().load(&components::bytes(name), &Grants::default()).await.unwrap()
}

pub(crate) fn keygen() -> Task {
    Task::Keygen { scheme: "ecdsa-secp256k1".into() }
}

pub(crate) fn sign(digest: [u8; 32]) -> Task {
    Task::Sign(SignTask {
        scheme: "ecdsa-secp256k1".into(),
        signing: message(digest.to_vec()),
        presignature: None,
    })
}

async fn new_key(plugin: &Plugin, required: u16, parties: u16) -> (Parties, KeyOutputs) {
    let mut all = Parties::new(required, parties);
    let Outcome::Key(key) = all.run(plugin, &all.all(), &keygen()).await else { panic!() };
    (all, key.outputs)
}

#[tokio::test]
async fn sandboxed_parties_make_a_key_sign_with_every_quorum_and_refresh() {
    let plugin = load("dkls23").await;
    let (mut parties, key) = new_key(&plugin, 2, 3).await;
    for refreshed in [false, true] {
        if refreshed {
            let Outcome::Refreshed(fresh) = parties.run(&plugin, &[1, 2, 3], &Task::Refresh).await else {
                panic!()
            };
            assert_eq!(fresh.outputs.public_key, key.public_key);
            assert_ne!(fresh.outputs.verifying_shares, key.verifying_shares);
        }
        for (i, signers) in [[1, 2], [1, 3], [2, 3]].iter().enumerate() {
            let digest = [u8::try_from(i).unwrap() + 1; 32];
            let Outcome::Signature(signature) = parties.run(&plugin, signers, &sign(digest)).await else {
                panic!()
            };
            assert_ecdsa(&signature, digest, &key.public_key.0);
        }
    }
}

#[tokio::test]
async fn a_larger_threshold_works_in_the_sandbox() {
    let plugin = load("dkls23").await;
    let (mut parties, key) = new_key(&plugin, 3, 4).await;
    let Outcome::Signature(signature) = parties.run(&plugin, &[1, 2, 4], &sign([9; 32])).await else {
        panic!()
    };
    assert_ecdsa(&signature, [9; 32], &key.public_key.0);
}
