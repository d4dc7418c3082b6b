//! The CGGMP24 skeleton with all parties in one native process, verified by `k256`.
#![allow(clippy::unwrap_used, missing_docs)]

use k256::ecdsa::signature::hazmat::PrehashVerifier;
use k256::ecdsa::{Signature, VerifyingKey};
use quorate_cggmp24::Cggmp24;
use quorate_plugin_sdk::{Failure, HashFunction, Host, Outcome, Scope, SignItem, SignTask, Task};
use quorate_plugin_testkit::Cluster;

#[test]
fn primes_auxiliary_data_and_a_key_make_signatures() {
    let mut cluster = Cluster::new(2, 3);
    let all = cluster.all();
    let ended = cluster.run_with::<Cggmp24>(&all, &Task::Auxiliary, Some);
    assert!(ended.values().all(|e| matches!(e, Err(Failure::InvalidTask(_)))), "no primes yet: {ended:?}");

    for party in &all {
        cluster.run::<Cggmp24>(&[*party], &Task::Prepare { items: 1 });
    }
    cluster.run::<Cggmp24>(&all, &Task::Auxiliary);
    let left = cluster.host(1).vault_list(Scope::Party, "primes-", 9).unwrap();
    assert!(left.is_empty(), "primes are used once: {left:?}");

    let Outcome::Key(key) = cluster.run::<Cggmp24>(&all, &Task::Keygen { scheme: "ecdsa-secp256k1".into() })
    else {
        panic!()
    };
    let key = VerifyingKey::from_sec1_bytes(&key.public_key).unwrap();
    for signers in [[1, 2], [2, 3]] {
        let task = Task::Sign(SignTask {
            scheme: "ecdsa-secp256k1".into(),
            items: vec![SignItem {
                message: vec![7; 32],
                hash: HashFunction::None,
                path: vec![],
                merkle_root: None,
                presignature: None,
            }],
        });
        let Outcome::Signatures(signatures) = cluster.run::<Cggmp24>(&signers, &task) else { panic!() };
        let [signature] = signatures.try_into().unwrap();
        let signature = Signature::from_slice(&signature.bytes).unwrap();
        key.verify_prehash(&[7; 32], &signature).unwrap();
    }
}
