//! DKLs23 in the sandbox, all parties in one process.

use quorate_core::certificate::KeyOutputs;
use quorate_kit::Parties;
use quorate_runtime::{ComponentOutcome, Plugin, Task};
use quorate_tests::sandbox_tasks::{keygen, load, sign};
use quorate_tests::verification::assert_ecdsa;

async fn new_key(plugin: &Plugin, required: u16, parties: u16) -> (Parties, KeyOutputs) {
    let mut all = Parties::new(required, parties);
    let ComponentOutcome::Key(key) = all.run(plugin, &all.all(), &keygen()).await else { panic!() };
    (all, key.outputs)
}

#[tokio::test]
async fn sandboxed_parties_make_a_key_sign_with_every_quorum_and_refresh() {
    let plugin = load("dkls23").await;
    let (mut parties, key) = new_key(&plugin, 2, 3).await;
    for refreshed in [false, true] {
        if refreshed {
            let ComponentOutcome::Refreshed(fresh) = parties.run(&plugin, &[1, 2, 3], &Task::Refresh).await
            else {
                panic!()
            };
            assert_eq!(fresh.outputs.public_key, key.public_key);
            assert_ne!(fresh.outputs.verifying_shares, key.verifying_shares);
        }
        for (i, signers) in [[1, 2], [1, 3], [2, 3]].iter().enumerate() {
            let digest = [u8::try_from(i).unwrap() + 1; 32];
            let ComponentOutcome::Signature(signature) = parties.run(&plugin, signers, &sign(digest)).await
            else {
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
    let ComponentOutcome::Signature(signature) = parties.run(&plugin, &[1, 2, 4], &sign([9; 32])).await
    else {
        panic!()
    };
    assert_ecdsa(&signature, [9; 32], &key.public_key.0);
}
