//! Nonces that are made ahead of time.

use quorate_frost::{FrostEd25519, FrostSecp256k1Taproot};
use quorate_plugin_sdk::{Failure, Outcome, Protocol, Scope, SignItem, Task};
use quorate_plugin_testkit::{Cluster, Hop};

use crate::taproot::{ROOT, account_key, output_key};
use crate::{ed25519, item, keygen, sign, sign_task, taproot};

fn presign<P: Protocol>(cluster: &mut Cluster, signers: &[u16], count: u16) {
    let Outcome::Presignatures(made) = cluster.run::<P>(signers, &Task::Presign { count }) else { panic!() };
    assert_eq!(made, count);
}

fn with(name: &str, item: SignItem) -> SignItem {
    SignItem { presignature: Some(name.into()), ..item }
}

/// The code of an invalid share or task.
fn code(failure: &Failure) -> u16 {
    match failure {
        Failure::InvalidShare(detail) | Failure::InvalidTask(detail) => detail.code,
        Failure::Fault { detail, .. } => detail.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn prepared_nonces_sign_in_one_round_and_once() {
    let (mut cluster, key) = keygen::<FrostEd25519>(2, 3);
    presign::<FrostEd25519>(&mut cluster, &[1, 3], 3);
    let mut rounds = std::collections::BTreeSet::new();
    let task = sign_task("ed25519", vec![with("1", item(b"prepared"))]);
    let ended = cluster.run_with::<FrostEd25519>(&[1, 3], &task, |hop| {
        rounds.insert(hop.message.round);
        Some(hop)
    });
    assert_eq!(rounds, [2].into(), "more than the shares was sent");
    for (party, ended) in ended {
        let Ok(Outcome::Signatures(signatures)) = ended else { panic!("party {party}: {ended:?}") };
        ed25519::assert_valid(&key, b"prepared", &signatures[0]);
    }
    let again = cluster.run_with::<FrostEd25519>(&[1, 3], &task, Some);
    assert!(again.values().all(|ended| code(ended.as_ref().unwrap_err()) == 42), "{again:?}");
    // The others of the same session go on.
    let batch = ["0", "2"].map(|name| with(name, item(name.as_bytes())));
    let signatures = sign::<FrostEd25519>(&mut cluster, &[1, 3], batch.to_vec());
    for (name, signature) in ["0", "2"].iter().zip(&signatures) {
        ed25519::assert_valid(&key, name.as_bytes(), signature);
    }
}

#[test]
fn prepared_nonces_serve_taproot_with_and_without_scripts_for_keys_of_either_parity() {
    for _ in 0..8 {
        let (mut cluster, key) = keygen::<FrostSecp256k1Taproot>(2, 3);
        presign::<FrostSecp256k1Taproot>(&mut cluster, &[2, 3], 2);
        let rooted = SignItem { merkle_root: Some(ROOT), ..item(&[5; 32]) };
        for (name, item, key) in
            [("0", item(&[5; 32]), account_key(&key)), ("1", rooted, output_key(&key, ROOT))]
        {
            let signatures = sign::<FrostSecp256k1Taproot>(&mut cluster, &[2, 3], vec![with(name, item)]);
            taproot::assert_valid(key, [5; 32], &signatures[0]);
        }
    }
}

#[test]
fn prepared_nonces_are_used_by_the_parties_that_made_them_only() {
    let (mut cluster, _) = keygen::<FrostEd25519>(2, 3);
    presign::<FrostEd25519>(&mut cluster, &[1, 2], 1);
    // Party 3 has none of this name, and party 1 made it with another.
    let task = sign_task("ed25519", vec![with("0", item(b"message"))]);
    let ended = cluster.run_with::<FrostEd25519>(&[1, 3], &task, Some);
    assert!(ended.values().all(|ended| code(ended.as_ref().unwrap_err()) == 42), "{ended:?}");
}

#[test]
fn a_batch_uses_prepared_nonces_for_all_its_items_or_for_none() {
    let (mut cluster, _) = keygen::<FrostEd25519>(2, 3);
    presign::<FrostEd25519>(&mut cluster, &[1, 2], 1);
    let task = sign_task("ed25519", vec![with("0", item(b"one")), item(b"two")]);
    let ended = cluster.run_with::<FrostEd25519>(&[1, 2], &task, Some);
    assert!(ended.values().all(|ended| code(ended.as_ref().unwrap_err()) == 8), "{ended:?}");
    for count in [0, 257] {
        let ended = cluster.run_with::<FrostEd25519>(&[1, 2], &Task::Presign { count }, Some);
        assert!(ended.values().all(|ended| code(ended.as_ref().unwrap_err()) == 8), "{ended:?}");
    }
}

#[test]
fn signers_whose_lists_of_commitments_differ_blame_nobody() {
    let (mut cluster, _) = keygen::<FrostEd25519>(2, 3);
    presign::<FrostEd25519>(&mut cluster, &[1, 2], 2);
    // Party 2 takes the second pair for the first.
    let host = cluster.host(2);
    let second = quorate_plugin_sdk::Host::vault_take(host, Scope::Key, "1").unwrap().unwrap();
    quorate_plugin_sdk::Host::vault_stock(host, Scope::Key, "0", &second).unwrap();
    host.commit();
    let task = sign_task("ed25519", vec![with("0", item(b"message"))]);
    let ended = cluster.run_with::<FrostEd25519>(&[1, 2], &task, Some);
    for ended in ended.values() {
        let Err(Failure::Fault { culprits, ban: false, detail }) = ended else { panic!("{ended:?}") };
        assert_eq!((culprits.len(), detail.code), (0, 25));
    }
}

#[test]
fn a_peer_that_commits_to_fewer_pairs_is_named_and_nothing_is_kept() {
    let (mut cluster, _) = keygen::<FrostEd25519>(2, 3);
    let mut fewer = cluster.clone();
    let mut captured = None;
    fewer.run_with::<FrostEd25519>(&[1, 2], &Task::Presign { count: 1 }, |hop: Hop| {
        captured.get_or_insert_with(|| hop.message.payload.clone());
        Some(hop)
    });
    let ended = cluster.run_with::<FrostEd25519>(&[1, 2], &Task::Presign { count: 2 }, |mut hop: Hop| {
        if hop.message.from.number() == 2 {
            hop.message.payload.clone_from(captured.as_ref().unwrap());
        }
        Some(hop)
    });
    let Err(Failure::Fault { culprits, ban: false, detail }) = &ended[&1] else { panic!("{ended:?}") };
    assert_eq!((culprits[0].number(), detail.code), (2, 26));
    let kept = quorate_plugin_sdk::Host::vault_list(cluster.host(1), Scope::Key, "", 10).unwrap();
    assert_eq!(kept, ["share"]);
}
