//! A party that has lost its share gets it back, refreshed, and nothing of the lost one is kept.

use quorate_frost::{FrostEd25519, FrostSecp256k1Taproot};
use quorate_plugin_sdk::{Delivery, Failure, Outcome, Protocol, PublicKeyInfo, SignItem, Task};
use quorate_plugin_testkit::{Cluster, Hop, MemoryHost, repair_task};

use crate::ed25519::assert_valid as assert_ed25519;
use crate::faults::{fault, flip_low_bit, is_from, low_byte_of_scalar};
use crate::taproot::{account_key, assert_valid as assert_bip340};
use crate::{BINDING_BYTES, item, keygen, refresh, sign};

const MESSAGE: [u8; 32] = [0x42; 32];

fn assert_signs<P: Protocol>(cluster: &mut Cluster, key: &PublicKeyInfo, signers: &[u16]) {
    let items: Vec<SignItem> = vec![item(&MESSAGE)];
    let signature = sign::<P>(cluster, signers, items).remove(0);
    if key.scheme == "ed25519" {
        assert_ed25519(key, &MESSAGE, &signature);
    } else {
        assert_bip340(account_key(key), MESSAGE, &signature);
    }
}

/// The first parties but one.
fn others(cluster: &Cluster, party: u16, count: u16) -> Vec<u16> {
    cluster.all().into_iter().filter(|other| *other != party).take(count.into()).collect()
}

fn any_helpers_repair_any_party<P: Protocol>() {
    for (threshold, parties, targets, helpers) in [
        (2, 3, &[1][..], &[2, 3][..]),
        (2, 3, &[3], &[1, 2]),
        (3, 5, &[4], &[1, 3, 5]),
        (3, 5, &[2, 5], &[1, 3, 4]),
        (4, 5, &[1], &[2, 3, 4, 5]),
    ] {
        let target = targets[0];
        let (mut cluster, key) = keygen::<P>(threshold, parties);
        let repaired = cluster.repair::<P>(&key, targets, helpers);
        assert_eq!(repaired.public_key, key.public_key);
        let old = &key.verifying_shares;
        assert!(repaired.verifying_shares.iter().all(|share| !old.contains(share)), "a share is not new");
        let mut signers = others(&cluster, target, threshold - 1);
        signers.push(target);
        signers.sort_unstable();
        assert_signs::<P>(&mut cluster, &key, &signers);
        // The repaired share is as good as any other.
        let refreshed = refresh::<P>(&mut cluster);
        let helped_before = helpers[0];
        let helpers = others(&cluster, helped_before, threshold);
        let again = cluster.repair::<P>(&refreshed, &[helped_before], &helpers);
        assert_eq!(again.public_key, key.public_key);
        assert_signs::<P>(&mut cluster, &key, &signers);
    }
}

#[test]
fn any_t_helpers_repair_any_party() {
    any_helpers_repair_any_party::<FrostEd25519>();
    any_helpers_repair_any_party::<FrostSecp256k1Taproot>();
}

fn is_point_to_point(hop: &Hop, from: u16, round: u16) -> bool {
    is_from(hop, from, round) && hop.message.delivery == Delivery::PointToPoint
}

fn run<P: Protocol>(
    cluster: &mut Cluster,
    task: &Task,
    bend: impl FnMut(Hop) -> Option<Hop>,
) -> Vec<Result<Outcome, Failure>> {
    let all = cluster.all();
    cluster.run_with::<P>(&all, task, bend).into_values().collect()
}

fn a_wrong_part<P: Protocol>() {
    let (mut cluster, key) = keygen::<P>(2, 4);
    *cluster.host(4) = MemoryHost::default();
    let task = repair_task(&key, &[4], &[1, 3]);
    // Of a sum that is wrong nobody can say who has caused it: a delta reaches the target inside of another helper's sigma.
    for (round, from, to) in [(1, 1, 3), (2, 1, 4), (2, 3, 4)] {
        // The others have finished: it is the host that keeps their shares from becoming active.
        let mut cluster = cluster.clone();
        let ended = run::<P>(&mut cluster, &task, |mut hop| {
            if is_point_to_point(&hop, from, round) && hop.to.number() == to {
                let last = hop.message.payload.len() - 32;
                flip_low_bit(&mut hop, low_byte_of_scalar::<P>(last));
            }
            Some(hop)
        });
        assert_eq!(fault(&ended[3]), (27, vec![]), "round {round} from {from}");
        assert!(cluster.host(4).is_empty(), "something of a repair that failed is kept");
    }
    // The same share set can still be repaired, with others.
    cluster.repair::<P>(&key, &[4], &[2, 3]);
    assert_signs::<P>(&mut cluster, &key, &[2, 4]);
}

#[test]
fn a_wrong_part_blames_nobody_and_other_helpers_can_still_repair() {
    a_wrong_part::<FrostEd25519>();
    a_wrong_part::<FrostSecp256k1Taproot>();
}

#[test]
fn deltas_go_to_helpers_and_sigmas_to_the_target_only() {
    let (mut cluster, key) = keygen::<FrostEd25519>(2, 4);
    let task = repair_task(&key, &[2], &[1, 4]);
    let mut lengths = vec![];
    run::<FrostEd25519>(&mut cluster, &task, |hop| {
        let (from, to) = (hop.message.from.number(), hop.to.number());
        lengths.push(((hop.message.round, hop.message.delivery), from, to, hop.message.payload.len()));
        Some(hop)
    });
    for round in [1, 2] {
        let sent: Vec<_> = lengths
            .iter()
            .filter(|((r, delivery), ..)| *r == round && *delivery == Delivery::PointToPoint)
            .collect();
        assert_eq!(sent.len(), 12);
        let shortest = sent.iter().map(|sent| sent.3).min().unwrap();
        let mut with_part: Vec<_> =
            sent.iter().filter(|sent| sent.3 > shortest).map(|sent| (sent.1, sent.2)).collect();
        with_part.sort_unstable();
        assert_eq!(with_part, if round == 1 { [(1, 4), (4, 1)] } else { [(1, 2), (4, 2)] });
    }
}

/// A party that sends a part that it does not have, or not the one that it has, is named.
#[test]
fn a_part_that_is_missing_or_too_much_names_its_sender() {
    let (mut cluster, key) = keygen::<FrostEd25519>(2, 4);
    let mut ended = run::<FrostEd25519>(&mut cluster, &repair_task(&key, &[4], &[1, 3]), |mut hop| {
        if is_point_to_point(&hop, 1, 1) && hop.to.number() == 3 {
            let nothing = 0;
            hop.message.payload = [&hop.message.payload[..BINDING_BYTES], &[nothing]].concat().into();
        }
        Some(hop)
    });
    assert_eq!(fault(&ended.swap_remove(2)), (28, vec![1]));
}

#[test]
fn a_share_set_that_is_not_the_promised_one_is_not_repaired() {
    let (mut cluster, key) = keygen::<FrostEd25519>(2, 3);
    let (_, other) = keygen::<FrostEd25519>(2, 3);
    for ended in
        run::<FrostEd25519>(&mut cluster, &repair_task(&other, &[3], &[1, 2]), Some).into_iter().take(2)
    {
        assert!(matches!(ended, Err(Failure::InvalidShare(detail)) if detail.code == 40));
    }
    let mut garbled = key.clone();
    garbled.verifying_shares[1] = vec![0xff; 32];
    for ended in run::<FrostEd25519>(&mut cluster, &repair_task(&garbled, &[3], &[1, 2]), Some) {
        assert!(matches!(ended, Err(Failure::InvalidTask(detail)) if detail.code == 9));
    }
    for (target, helpers) in [(3, &[1, 3][..]), (3, &[1]), (3, &[1, 2, 3]), (4, &[1, 2])] {
        for ended in run::<FrostEd25519>(&mut cluster, &repair_task(&key, &[target], helpers), Some) {
            assert!(matches!(ended, Err(Failure::InvalidTask(_))), "{target} by {helpers:?}: {ended:?}");
        }
    }
    assert_signs::<FrostEd25519>(&mut cluster, &key, &[1, 2]);
}
