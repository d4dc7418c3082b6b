//! DKLs23 in the sandbox, all parties in one process.

use quorate_core::certificate::KeyOutputs;
use quorate_core::order::{MAX_SIGN_ITEMS, SignItems};
use quorate_core::{SchemeSignature, Threshold};
use quorate_kit::{Parties, message};
use quorate_runtime::{ComponentOutcome, Plugin, SignTask, Task};
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
            let signature = one_signature(parties.run(&plugin, signers, &sign(digest)).await);
            assert_ecdsa(&signature, digest, &key.public_key.0);
        }
    }
}

#[tokio::test]
async fn lost_shares_are_repaired_in_the_sandbox() {
    let plugin = load("dkls23").await;
    let (mut parties, key) = new_key(&plugin, 3, 5).await;
    let repaired = parties.repair(&plugin, &key, &[2, 4]).await;
    assert_eq!((&repaired.public_key, repaired.chain_code), (&key.public_key, key.chain_code));
    let signature = one_signature(parties.run(&plugin, &[2, 3, 4], &sign([9; 32])).await);
    assert_ecdsa(&signature, [9; 32], &key.public_key.0);
}

#[tokio::test]
async fn a_larger_threshold_works_in_the_sandbox() {
    let plugin = load("dkls23").await;
    let (mut parties, key) = new_key(&plugin, 3, 4).await;
    let signature = one_signature(parties.run(&plugin, &[1, 2, 4], &sign([9; 32])).await);
    assert_ecdsa(&signature, [9; 32], &key.public_key.0);
}

fn one_signature(outcome: ComponentOutcome) -> SchemeSignature {
    let ComponentOutcome::Signatures(signatures) = outcome else { panic!("{outcome:?}") };
    let [signature] = signatures.try_into().unwrap();
    signature
}

/// So many items come near to the memory that a session may have at all.
#[tokio::test]
async fn the_largest_batches_take_no_more_than_the_plugin_has_announced() {
    let plugin = load("dkls23").await;
    for (t, n, items) in [(2, 3, 64), (3, 5, 64), (5, 5, 32)] {
        let (mut parties, key) = new_key(&plugin, t, n).await;
        let digests = (0..items).map(|byte| [byte; 32]);
        let items = SignItems::new(digests.clone().map(|digest| message(digest.to_vec())).collect()).unwrap();
        let task = Task::Sign(SignTask::new("ecdsa-secp256k1", &items));
        let signers: Vec<u16> = (1..=t).collect();
        let ComponentOutcome::Signatures(signatures) = parties.run(&plugin, &signers, &task).await else {
            panic!()
        };
        assert_eq!(signatures.len(), items.all().len(), "{t} of {n}");
        for (signature, digest) in signatures.iter().zip(digests) {
            assert_ecdsa(signature, digest, &key.public_key.0);
        }
    }
}

/// The numbers that the README names.
#[tokio::test]
async fn the_more_sign_the_fewer_items_fit_a_session() {
    let plugin = load("dkls23").await;
    for (signers, most) in [(2, 64), (3, 64), (4, 50), (5, 38)] {
        let fits = |items: usize| {
            let items = SignItems::new(vec![message(vec![7; 32]); items]).unwrap();
            let task = Task::Sign(SignTask::new("ecdsa-secp256k1", &items));
            plugin.need(&task, Threshold::new(signers, signers).unwrap()).unwrap().is_possible()
        };
        assert!(fits(most), "{signers} signers");
        assert!(most == MAX_SIGN_ITEMS || !fits(most + 1), "{signers} signers");
    }
}
