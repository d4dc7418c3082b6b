//! FROST with all parties in one native process, verified by ed25519-dalek.
#![allow(clippy::unwrap_used, missing_docs)]

use ed25519_dalek::{Signature, VerifyingKey};
use quorate_frost::Frost;
use quorate_plugin_sdk::{Failure, HashFunction, Outcome, SignItem, SignTask, Task};
use quorate_plugin_testkit::Cluster;

fn keygen() -> Task {
    Task::Keygen { scheme: "ed25519".into() }
}

#[test]
fn any_three_of_five_sign_for_the_same_key() {
    let mut cluster = Cluster::new(3, 5);
    let Outcome::Key(key) = cluster.run::<Frost>(&cluster.all(), &keygen()) else { panic!() };
    let key = VerifyingKey::from_bytes(&key.public_key.try_into().unwrap()).unwrap();
    for signers in [[1, 2, 3], [1, 3, 5], [2, 4, 5]] {
        let message = b"any length".to_vec();
        let task = Task::Sign(SignTask {
            scheme: "ed25519".into(),
            items: vec![SignItem {
                message: message.clone(),
                hash: HashFunction::None,
                path: vec![],
                tweak: None,
                presignature: None,
            }],
        });
        let Outcome::Signatures(signatures) = cluster.run::<Frost>(&signers, &task) else { panic!() };
        let [signature] = signatures.try_into().unwrap();
        key.verify_strict(&message, &Signature::from_bytes(&signature.bytes)).unwrap();
    }
}

#[test]
fn a_package_of_another_session_is_a_fault_of_its_sender() {
    let mut cluster = Cluster::new(2, 3);
    let mut earlier = Vec::new();
    cluster.run_with::<Frost>(&[1, 2, 3], &keygen(), |hop| {
        if hop.message.from.number() == 3 && hop.message.round == 1 && hop.to.number() == 1 {
            earlier = hop.message.payload.to_vec();
        }
        Some(hop)
    });
    let ended = cluster.run_with::<Frost>(&[1, 2, 3], &keygen(), |mut hop| {
        if hop.message.from.number() == 3 && hop.message.round == 1 {
            hop.message.payload = earlier.clone().into();
        }
        Some(hop)
    });
    let Err(Failure::Fault { culprits, ban: false, .. }) = &ended[&1] else { panic!("{ended:?}") };
    assert_eq!(culprits[0].number(), 3);
}
