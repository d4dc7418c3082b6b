//! A party that sends something else than the protocol asks for is named, where the library proves it, and never banned.

use quorate_frost::{FrostEd25519, FrostSecp256k1Taproot};
use quorate_plugin_sdk::{Delivery, Failure, HashFunction, Protocol, SignItem, Task};
use quorate_plugin_testkit::{Cluster, Hop};

use crate::{BINDING_BYTES, item, keygen, keygen_task, sign_task};

/// The code and the culprits of a fault.
pub(crate) fn fault(ended: &Result<quorate_plugin_sdk::Outcome, Failure>) -> (u16, Vec<u16>) {
    let Err(Failure::Fault { culprits, ban: false, detail }) = ended else { panic!("{ended:?}") };
    (detail.code, culprits.iter().map(|party| party.number()).collect())
}

pub(crate) fn is_from(hop: &Hop, party: u16, round: u16) -> bool {
    hop.message.from.number() == party && hop.message.round == round
}

/// Flips the lowest bit of one byte of the payload.
pub(crate) fn flip_low_bit(hop: &mut Hop, position: usize) {
    let mut payload = hop.message.payload.to_vec();
    payload[position] ^= 1;
    hop.message.payload = payload.into();
}

/// The position of a scalar's least significant byte: the first one in Ed25519, the last one in secp256k1. With its lowest bit flipped the
/// scalar still decodes.
pub(crate) fn low_byte_of_scalar<P: Protocol>(start: usize) -> usize {
    if P::describe().id == "frost-ed25519" { start } else { start + 31 }
}

fn a_package_of_another_session<P: Protocol>(task: &Task, cluster: &mut Cluster) {
    for round in [1, 2] {
        let mut earlier = Vec::new();
        cluster.run_with::<P>(&[1, 2, 3], task, |hop| {
            if is_from(&hop, 3, round) && hop.to.number() == 1 {
                earlier = hop.message.payload.to_vec();
            }
            Some(hop)
        });
        let ended = cluster.run_with::<P>(&[1, 2, 3], task, |mut hop| {
            if is_from(&hop, 3, round) && hop.to.number() == 1 {
                hop.message.payload = earlier.clone().into();
            }
            Some(hop)
        });
        assert_eq!(fault(&ended[&1]).1, [3], "round {round}");
    }
}

fn a_wrong_secret_share<P: Protocol>(task: &Task, cluster: &mut Cluster) {
    let ended = cluster.run_with::<P>(&[1, 2, 3], task, |mut hop| {
        if is_from(&hop, 2, 2) && hop.to.number() == 3 {
            let last = hop.message.payload.len() - 32;
            flip_low_bit(&mut hop, low_byte_of_scalar::<P>(last));
        }
        Some(hop)
    });
    assert_eq!(fault(&ended[&3]), (23, vec![2]));
    assert!(ended[&1].is_ok());
}

/// A party that sends the commitments of another as its own, behind its own prefix.
fn copied_commitments<P: Protocol>(task: &Task, cluster: &mut Cluster) {
    let mut of_2 = Vec::new();
    let ended = cluster.run_with::<P>(&[1, 2, 3], task, |mut hop| {
        if is_from(&hop, 2, 1) {
            of_2 = hop.message.payload[BINDING_BYTES..].to_vec();
        }
        if is_from(&hop, 3, 1) {
            let copied = [&hop.message.payload[..BINDING_BYTES], &of_2].concat();
            hop.message.payload = copied.into();
        }
        Some(hop)
    });
    if matches!(task, Task::Keygen { .. }) {
        // The proof that comes with them is not party 3's.
        assert_eq!(fault(&ended[&1]), (22, vec![3]));
        assert_eq!(fault(&ended[&2]), (22, vec![3]));
    } else {
        // Party 2 knows whose they are; party 1 sees two that are equal.
        assert_eq!(fault(&ended[&2]), (20, vec![3]));
        assert_eq!(fault(&ended[&1]), (20, vec![]));
    }
}

fn for_keygen_and_refresh<P: Protocol>(check: fn(&Task, &mut Cluster)) {
    let task = keygen_task(P::describe().schemes[0]);
    check(&task, &mut Cluster::new(2, 3));
    let (mut cluster, _) = keygen::<P>(2, 3);
    check(&Task::Refresh, &mut cluster);
}

#[test]
fn packages_of_another_session_wrong_shares_and_copies_are_faults_in_keygen_and_refresh() {
    for_keygen_and_refresh::<FrostEd25519>(a_package_of_another_session::<FrostEd25519>);
    for_keygen_and_refresh::<FrostEd25519>(a_wrong_secret_share::<FrostEd25519>);
    for_keygen_and_refresh::<FrostEd25519>(copied_commitments::<FrostEd25519>);
    for_keygen_and_refresh::<FrostSecp256k1Taproot>(a_package_of_another_session::<FrostSecp256k1Taproot>);
    for_keygen_and_refresh::<FrostSecp256k1Taproot>(a_wrong_secret_share::<FrostSecp256k1Taproot>);
    for_keygen_and_refresh::<FrostSecp256k1Taproot>(copied_commitments::<FrostSecp256k1Taproot>);
}

#[test]
fn a_polynomial_of_another_degree_is_a_fault_of_its_sender() {
    // Packages of a key of 3 of 3, in a keygen of 2 of 3.
    let mut longer = Vec::new();
    Cluster::new(3, 3).run_with::<FrostEd25519>(&[1, 2, 3], &keygen_task("ed25519"), |hop| {
        if is_from(&hop, 3, 1) {
            longer = hop.message.payload[BINDING_BYTES..].to_vec();
        }
        Some(hop)
    });
    let ended =
        Cluster::new(2, 3).run_with::<FrostEd25519>(&[1, 2, 3], &keygen_task("ed25519"), |mut hop| {
            if is_from(&hop, 3, 1) {
                let payload = [&hop.message.payload[..BINDING_BYTES], &longer].concat();
                hop.message.payload = payload.into();
            }
            Some(hop)
        });
    assert_eq!(fault(&ended[&1]), (21, vec![3]));
}

#[test]
fn a_proof_of_another_polynomial_is_a_fault_of_its_sender() {
    let ended =
        Cluster::new(2, 3).run_with::<FrostEd25519>(&[1, 2, 3], &keygen_task("ed25519"), |mut hop| {
            if is_from(&hop, 2, 1) {
                let last = hop.message.payload.len() - 32;
                flip_low_bit(&mut hop, last);
            }
            Some(hop)
        });
    assert_eq!(fault(&ended[&1]), (22, vec![2]));
}

fn wrong_signature_shares<P: Protocol>() {
    let (mut cluster, _) = keygen::<P>(4, 5);
    let task = sign_task(P::describe().schemes[0], vec![item(&[1; 32])]);
    let ended = cluster.run_with::<P>(&[1, 2, 3, 5], &task, |mut hop| {
        if (is_from(&hop, 3, 2) || is_from(&hop, 5, 2)) && hop.message.delivery == Delivery::Broadcast {
            // Behind the framing of a batch, in front of the hash of the commitments.
            let share = hop.message.payload.len() - 64;
            // Not the same bit of both: the two changes could cancel out.
            let byte = usize::from(hop.message.from.number());
            flip_low_bit(&mut hop, share + 10 + byte);
        }
        Some(hop)
    });
    assert_eq!(fault(&ended[&1]), (24, vec![3, 5]));
    assert_eq!(fault(&ended[&2]), (24, vec![3, 5]));
    assert_eq!(fault(&ended[&3]), (24, vec![5]), "it has sent a good one, as far as it knows");
}

fn other_commitments<P: Protocol>() {
    let (mut cluster, _) = keygen::<P>(2, 3);
    let task = sign_task(P::describe().schemes[0], vec![item(&[1; 32])]);
    let ended = cluster.run_with::<P>(&[1, 2], &task, |mut hop| {
        if is_from(&hop, 2, 2) {
            let last = hop.message.payload.len() - 1;
            flip_low_bit(&mut hop, last);
        }
        Some(hop)
    });
    assert_eq!(fault(&ended[&1]), (25, vec![]), "any signer may say so falsely");
}

#[test]
fn all_signers_with_wrong_shares_are_named_and_nobody_where_the_commitments_differ() {
    wrong_signature_shares::<FrostEd25519>();
    wrong_signature_shares::<FrostSecp256k1Taproot>();
    other_commitments::<FrostEd25519>();
    other_commitments::<FrostSecp256k1Taproot>();
}

#[test]
fn what_a_scheme_can_not_sign_is_refused_with_the_reason() {
    let digest = item(&[1; 32]);
    let path = SignItem { path: vec![7], ..digest.clone() };
    let root = SignItem { merkle_root: Some([1; 32]), ..digest.clone() };
    let hash = SignItem { hash: HashFunction::Sha256, ..digest };
    refuses::<FrostEd25519>(&[(4, &path), (6, &root), (5, &hash)]);
    refuses::<FrostSecp256k1Taproot>(&[(4, &path), (7, &item(b"short"))]);
}

fn refuses<P: Protocol>(items: &[(u16, &SignItem)]) {
    let (mut cluster, _) = keygen::<P>(2, 2);
    for (code, item) in items {
        let task = sign_task(P::describe().schemes[0], vec![SignItem::clone(item)]);
        let ended = cluster.run_with::<P>(&[1, 2], &task, Some);
        let Err(Failure::InvalidTask(detail)) = &ended[&1] else { panic!("{code}: {ended:?}") };
        assert_eq!(detail.code, *code, "{}", detail.text);
    }
}

#[test]
fn a_share_of_another_party_is_not_used() {
    let (mut cluster, _) = keygen::<FrostEd25519>(2, 3);
    let of_1 = cluster.host(1).clone();
    *cluster.host(2) = of_1;
    let ended = cluster.run_with::<FrostEd25519>(&[2, 3], &sign_task("ed25519", vec![item(b"m")]), Some);
    let Err(Failure::InvalidShare(detail)) = &ended[&2] else { panic!("{ended:?}") };
    assert_eq!(detail.code, 40);
}
