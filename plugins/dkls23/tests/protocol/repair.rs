//! A party that has lost its share gets it back and signs again, because a complete refresh follows in the same session.

use quorate_dkls23::Dkls23;
use quorate_plugin_sdk::{Delivery, Failure, Outcome};
use quorate_plugin_testkit::{Hop, MemoryHost, repair_task};

use crate::{DIGEST, assert_valid, item, keygen, public, sign};

#[test]
fn a_repaired_party_signs_with_every_other() {
    let (mut cluster, key) = keygen(2, 3);
    let repaired = cluster.repair::<Dkls23>(&key, &[2], &[1, 3]);
    assert_eq!((&repaired.public_key, repaired.chain_code), (&key.public_key, key.chain_code));
    assert!(repaired.verifying_shares.iter().all(|share| !key.verifying_shares.contains(share)));
    for signers in [[1, 2], [2, 3], [1, 3]] {
        assert_valid(&sign(&mut cluster, &signers, item()), DIGEST, &public(&key));
    }
    // It can help another.
    let again = cluster.repair::<Dkls23>(&repaired, &[3], &[1, 2]);
    assert_eq!(again.public_key, key.public_key);
    assert_valid(&sign(&mut cluster, &[2, 3], item()), DIGEST, &public(&key));
}

#[test]
fn two_parties_are_repaired_at_once() {
    let (mut cluster, key) = keygen(3, 5);
    cluster.repair::<Dkls23>(&key, &[4, 5], &[1, 2, 3]);
    for signers in [[1, 3, 5], [3, 4, 5]] {
        assert_valid(&sign(&mut cluster, &signers, item()), DIGEST, &public(&key));
    }
}

fn is_to_target(hop: &Hop, from: u16) -> bool {
    let message = &hop.message;
    (message.round, message.from.number(), hop.to.number()) == (1, from, 4)
        && message.delivery == Delivery::PointToPoint
}

#[test]
fn a_wrong_term_blames_nobody_and_other_helpers_can_still_repair() {
    let (mut cluster, key) = keygen(2, 4);
    *cluster.host(4) = MemoryHost::default();
    let task = repair_task(&key, &[4], &[1, 3]);
    // The fragment, a byte that says that a term follows, and helper and target: then the term itself.
    let position = 33 + 1 + 2 + 8;
    let ended = cluster.clone().run_with::<Dkls23>(&cluster.all(), &task, |mut hop| {
        if is_to_target(&hop, 3) {
            let mut payload = hop.message.payload.to_vec();
            payload[position] ^= 1;
            hop.message.payload = payload.into();
        }
        Some(hop)
    });
    let Err(Failure::Fault { culprits, ban: false, detail }) = &ended[&4] else { panic!("{ended:?}") };
    assert_eq!((culprits.len(), detail.code), (0, 34));
    // Nobody has finished: the target had to go on for that.
    assert!(ended.values().all(Result::is_err));
    // A term, from a party that does not help.
    let mut of_1 = vec![];
    let ended = cluster.clone().run_with::<Dkls23>(&cluster.all(), &task, |mut hop| {
        let payload = hop.message.payload.to_vec();
        if is_to_target(&hop, 1) {
            of_1.clone_from(&payload);
        }
        if is_to_target(&hop, 2) {
            // It ends with a byte that says that no term follows.
            let fragment = payload.len() - 1;
            let mut with_term = [&payload[..fragment], &of_1[fragment..]].concat();
            with_term[fragment + 1] = 2;
            hop.message.payload = with_term.into();
        }
        Some(hop)
    });
    let Err(Failure::Fault { culprits, ban: false, detail }) = &ended[&4] else { panic!("{ended:?}") };
    assert_eq!((culprits[0].number(), detail.code), (2, 35));
    cluster.repair::<Dkls23>(&key, &[4], &[2, 3]);
    assert_valid(&sign(&mut cluster, &[2, 4], item()), DIGEST, &public(&key));
}

#[test]
fn a_share_set_that_is_not_the_promised_one_is_not_repaired() {
    let (mut cluster, key) = keygen(2, 3);
    let (_, other) = keygen(2, 3);
    let all = cluster.all();
    let mut other_chain_code = key.clone();
    other_chain_code.chain_code = Some([9; 32]);
    for outputs in [&other, &other_chain_code] {
        let mut ended = cluster.run_with::<Dkls23>(&all, &repair_task(outputs, &[3], &[1, 2]), Some);
        for party in [1, 2] {
            let ended: Result<Outcome, Failure> = ended.remove(&party).unwrap();
            assert!(matches!(ended, Err(Failure::InvalidShare(detail)) if detail.code == 42));
        }
    }
    let mut garbled = key.clone();
    garbled.verifying_shares[1] = vec![0xff; 33];
    for ended in cluster.run_with::<Dkls23>(&all, &repair_task(&garbled, &[3], &[1, 2]), Some).into_values() {
        assert!(matches!(ended, Err(Failure::InvalidTask(detail)) if detail.code == 6));
    }
    assert_valid(&sign(&mut cluster, &[1, 3], item()), DIGEST, &public(&key));
}
