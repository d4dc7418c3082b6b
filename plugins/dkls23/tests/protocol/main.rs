//! DKLs23 with all parties in one native process. Signatures are verified, and child keys derived, by
//! libsecp256k1 and rust-bitcoin, which share no code with the signer.
#![allow(clippy::unwrap_used, missing_docs)]

mod repair;

use std::str::FromStr;

use bitcoin::bip32::{ChainCode, ChildNumber, DerivationPath, Fingerprint, Xpub};
use bitcoin::secp256k1::ecdsa::{RecoverableSignature, RecoveryId, Signature as Ecdsa};
use bitcoin::secp256k1::{Message, PublicKey, Secp256k1};
use quorate_dkls23::Dkls23;
use quorate_plugin_sdk::{
    Failure, HashFunction, Host, Outcome, PublicKeyInfo, Scope, SignItem, SignTask, Signature, Task,
};
use quorate_plugin_testkit::Cluster;

const DIGEST: [u8; 32] = [0x5a; 32];

fn keygen_task() -> Task {
    Task::Keygen { scheme: "ecdsa-secp256k1".into() }
}

fn item() -> SignItem {
    SignItem {
        message: DIGEST.to_vec(),
        hash: HashFunction::None,
        path: vec![],
        merkle_root: None,
        presignature: None,
    }
}

fn sign_task(items: impl IntoIterator<Item = SignItem>) -> Task {
    let items = items.into_iter().collect();
    Task::Sign(SignTask { scheme: "ecdsa-secp256k1".into(), items })
}

fn keygen(threshold: u16, parties: u16) -> (Cluster, PublicKeyInfo) {
    let mut cluster = Cluster::new(threshold, parties);
    let all = cluster.all();
    let Outcome::Key(key) = cluster.run::<Dkls23>(&all, &keygen_task()) else { panic!() };
    (cluster, key)
}

fn sign(cluster: &mut Cluster, signers: &[u16], item: SignItem) -> Signature {
    let Outcome::Signatures(signatures) = cluster.run::<Dkls23>(signers, &sign_task([item])) else {
        panic!()
    };
    let [signature] = signatures.try_into().unwrap();
    signature
}

/// Verifies with libsecp256k1, which also refuses a high s, and recovers the key.
fn assert_valid(signature: &Signature, digest: [u8; 32], key: &PublicKey) {
    let secp = Secp256k1::new();
    let message = Message::from_digest(digest);
    let plain = Ecdsa::from_compact(&signature.bytes).unwrap();
    secp.verify_ecdsa(&message, &plain, key).unwrap();
    let id = RecoveryId::from_i32(signature.recovery_id.unwrap().into()).unwrap();
    let recoverable = RecoverableSignature::from_compact(&signature.bytes, id).unwrap();
    assert_eq!(secp.recover_ecdsa(&message, &recoverable).unwrap(), *key);
}

fn public(key: &PublicKeyInfo) -> PublicKey {
    PublicKey::from_slice(&key.public_key).unwrap()
}

fn child(key: &PublicKeyInfo, path: &str) -> PublicKey {
    let root = Xpub {
        network: bitcoin::NetworkKind::Main,
        depth: 0,
        parent_fingerprint: Fingerprint::default(),
        child_number: ChildNumber::from_normal_idx(0).unwrap(),
        public_key: public(key),
        chain_code: ChainCode::from(key.chain_code.unwrap()),
    };
    let path = DerivationPath::from_str(path).unwrap();
    root.derive_pub(&Secp256k1::new(), &path).unwrap().public_key
}

#[test]
fn any_two_of_three_sign_for_the_same_key() {
    let (mut cluster, key) = keygen(2, 3);
    assert_eq!(key.verifying_shares.len(), 3);
    for signers in [[1, 2], [1, 3], [2, 3]] {
        let signature = sign(&mut cluster, &signers, item());
        assert_valid(&signature, DIGEST, &public(&key));
    }
}

#[test]
fn any_three_of_five_sign_for_the_same_key() {
    let (mut cluster, key) = keygen(3, 5);
    for signers in [[1, 2, 3], [1, 3, 5], [2, 4, 5]] {
        let signature = sign(&mut cluster, &signers, item());
        assert_valid(&signature, DIGEST, &public(&key));
    }
}

#[test]
fn the_parties_hash_a_message_as_asked() {
    use bitcoin::hashes::{Hash, sha256, sha256d};
    let (mut cluster, key) = keygen(2, 2);
    let message = b"transfer 12 to 0x00".to_vec();
    for (hash, digest) in [
        (HashFunction::Sha256, sha256::Hash::hash(&message).to_byte_array()),
        (HashFunction::Sha256d, sha256d::Hash::hash(&message).to_byte_array()),
    ] {
        let item = SignItem { message: message.clone(), hash, ..item() };
        assert_valid(&sign(&mut cluster, &[1, 2], item), digest, &public(&key));
    }
    // Keccak-256 of the empty string, a published vector.
    let digest = hex("c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470");
    let item = SignItem { message: vec![], hash: HashFunction::Keccak256, ..item() };
    assert_valid(&sign(&mut cluster, &[1, 2], item), digest, &public(&key));
}

fn hex(digits: &str) -> [u8; 32] {
    let bytes: Vec<u8> =
        (0..64).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

#[test]
fn child_keys_are_those_of_bip32() {
    let (mut cluster, key) = keygen(2, 3);
    let item = SignItem { path: vec![44, 60, 0, 7], ..item() };
    let signature = sign(&mut cluster, &[1, 3], item);
    assert_valid(&signature, DIGEST, &child(&key, "m/44/60/0/7"));
}

#[test]
fn the_items_of_a_batch_are_signed_in_their_order() {
    let (mut cluster, key) = keygen(2, 3);
    let path = vec![44, 60, 0, 7];
    let items = [
        item(),
        SignItem { message: vec![7; 32], ..item() },
        SignItem { path: path.clone(), ..item() },
        item(),
        SignItem { path, message: vec![7; 32], ..item() },
    ];
    let Outcome::Signatures(signatures) = cluster.run::<Dkls23>(&[1, 3], &sign_task(items)) else { panic!() };
    let child = child(&key, "m/44/60/0/7");
    let expected = [
        (DIGEST, public(&key)),
        ([7; 32], public(&key)),
        (DIGEST, child),
        (DIGEST, public(&key)),
        ([7; 32], child),
    ];
    assert_eq!(signatures.len(), expected.len());
    for (signature, (digest, key)) in signatures.iter().zip(&expected) {
        assert_valid(signature, *digest, key);
    }
    assert_ne!(signatures[0].bytes[..32], signatures[3].bytes[..32], "two equal items have the same nonce");
}

/// One message of each signer and round would be too long: they come in parts.
#[test]
fn a_batch_of_64_is_signed() {
    let (mut cluster, key) = keygen(2, 2);
    let items = (0..64).map(|i| SignItem { message: vec![i; 32], ..item() });
    let mut parts = 0;
    let ended = cluster.run_with::<Dkls23>(&[1, 2], &sign_task(items), |hop| {
        parts += 1;
        assert!(hop.message.payload.len() <= 1 + (1 << 20));
        Some(hop)
    });
    assert!(parts > 6, "{parts} parts");
    for ended in ended.into_values() {
        let Ok(Outcome::Signatures(signatures)) = ended else { panic!("{ended:?}") };
        assert_eq!(signatures.len(), 64);
        for (signature, digest) in signatures.iter().zip(0..) {
            assert_valid(signature, [digest; 32], &public(&key));
        }
    }
}

/// A place in a payload of round 1 that belongs to the oblivious transfers.
const OT_OFFSET_BYTES: usize = 5_000;

/// Flips a bit of what belongs to the oblivious transfers of an item, in party 2's messages of round 1.
fn cheat_in_item(cluster: &mut Cluster, items: usize, cheated: usize) -> (Failure, Vec<(u16, u16)>) {
    let (mut sent, mut before) = (Vec::new(), 0);
    let place = cheated * item_bytes() + OT_OFFSET_BYTES;
    let ended = cluster.run_with::<Dkls23>(&[1, 2], &sign_task(vec![item(); items]), |mut hop| {
        let (from, round) = (hop.message.from.number(), hop.message.round);
        sent.push((from, round));
        if (from, round) == (2, 1) {
            let bytes = hop.message.payload.len() - 1;
            if (before..before + bytes).contains(&place) {
                hop.message.payload[1 + place - before] ^= 1;
            }
            before += bytes;
        }
        Some(hop)
    });
    (ended[&1].clone().unwrap_err(), sent)
}

/// Bytes of an item in a message of round 1, with their length before them.
fn item_bytes() -> usize {
    let (mut cluster, _) = keygen(2, 2);
    let mut bytes = 0;
    cluster.run_with::<Dkls23>(&[1, 2], &sign_task([item()]), |hop| {
        if hop.message.round == 1 {
            bytes = hop.message.payload.len() - 1;
        }
        Some(hop)
    });
    bytes
}

#[test]
fn a_cheat_in_any_item_of_a_batch_is_answered_alike_and_with_nothing_of_the_round() {
    let (mut cluster, _) = keygen(2, 2);
    const ITEMS: usize = 64;
    let mut answers = Vec::new();
    for cheated in [0, ITEMS / 2, ITEMS - 1] {
        let (failure, sent) = cheat_in_item(&mut cluster, ITEMS, cheated);
        assert!(matches!(failure, Failure::Fault { ban: true, .. }), "item {cheated}: {failure:?}");
        assert!(
            !sent.contains(&(1, 2)),
            "item {cheated}: a message of the round in which it cheated has left"
        );
        answers.push(failure);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
}

#[test]
fn a_refresh_keeps_the_key_and_replaces_every_share() {
    let (mut cluster, key) = keygen(2, 3);
    let mut before = cluster.clone();
    let Outcome::Refreshed(fresh) = cluster.run::<Dkls23>(&[1, 2, 3], &Task::Refresh) else { panic!() };
    assert_eq!((&fresh.public_key, fresh.chain_code), (&key.public_key, key.chain_code));
    for (old, new) in key.verifying_shares.iter().zip(&fresh.verifying_shares) {
        assert_ne!(old, new);
    }
    for signers in [[1, 2], [1, 3], [2, 3]] {
        let item = SignItem { path: vec![3], ..item() };
        assert_valid(&sign(&mut cluster, &signers, item), DIGEST, &child(&key, "m/3"));
    }
    // The verifying shares still interpolate to the key: 2·V1 − V2 = V(0).
    let secp = Secp256k1::new();
    let share = |i: usize| PublicKey::from_slice(&fresh.verifying_shares[i]).unwrap();
    let doubled = share(0).mul_tweak(&secp, &scalar(2)).unwrap();
    assert_eq!(doubled.combine(&share(1).negate(&secp)).unwrap(), public(&key));
    // A share from before and one from after do not sign together, and nobody is banned for it.
    let old = before.host(1).vault_get(Scope::Key, "share").unwrap().unwrap();
    cluster.host(1).seed(Scope::Key, "share", old.to_vec());
    for ended in cluster.run_with::<Dkls23>(&[1, 2], &sign_task([item()]), Some).values() {
        match ended {
            Err(Failure::Fault { culprits, ban: false, .. }) => assert!(culprits.is_empty(), "{ended:?}"),
            Err(Failure::Internal(detail)) if detail.text == "timeout" => {}
            other => panic!("{other:?}"),
        }
    }
}

fn scalar(value: u8) -> bitcoin::secp256k1::Scalar {
    let mut bytes = [0; 32];
    bytes[31] = value;
    bitcoin::secp256k1::Scalar::from_be_bytes(bytes).unwrap()
}

#[test]
fn a_cheat_in_the_oblivious_transfers_is_banned_by_its_victim_and_nobody_else_is() {
    let (mut cluster, _) = keygen(3, 4);
    for round in [1, 2] {
        // Party 3 sends party 1 a message with one bit flipped in what belongs to the oblivious transfers. Party 2
        // gets honest messages from both.
        let ended = cluster.run_with::<Dkls23>(&[1, 2, 3], &sign_task([item()]), |mut hop| {
            let (from, to) = (hop.message.from.number(), hop.to.number());
            if (from, to, hop.message.round) == (3, 1, round) {
                hop.message.payload[5_000] ^= 1;
            }
            Some(hop)
        });
        let Err(Failure::Fault { culprits, ban, .. }) = &ended[&1] else { panic!("{ended:?}") };
        assert_eq!(culprits.iter().map(|c| c.number()).collect::<Vec<_>>(), [3], "round {round}");
        assert!(*ban, "round {round}: {ended:?}");
        for other in [2, 3] {
            assert!(!matches!(ended[&other], Ok(_) | Err(Failure::Fault { ban: true, .. })), "{ended:?}");
        }
    }
}

/// Replaces the broadcast of party 2 in `round` by that of party 1: party 2 knows no share and copies. Party 1 and
/// party 3 are honest.
fn copy_of_party_1(
    cluster: &mut Cluster,
    task: &Task,
) -> std::collections::BTreeMap<u16, Result<Outcome, Failure>> {
    let mut seen = std::collections::BTreeMap::new();
    cluster.run_with::<Dkls23>(&[1, 2, 3], task, |mut hop| {
        let key = hop.message.round;
        if hop.message.delivery != quorate_plugin_sdk::Delivery::PointToPoint {
            if hop.message.from.number() == 1 {
                seen.insert(key, hop.message.payload.clone());
            } else if let (2, Some(original)) = (hop.message.from.number(), seen.get(&key)) {
                // The proof commitment comes first; the rest of the message stays party 2's own.
                let copied = if key == 2 { 32 } else { original.len() };
                hop.message.payload[..copied].copy_from_slice(&original[..copied]);
            }
        }
        Some(hop)
    })
}

#[test]
fn a_party_that_repeats_anothers_commitment_is_refused() {
    let mut cluster = Cluster::new(3, 3);
    let ended = copy_of_party_1(&mut cluster, &keygen_task());
    let Err(Failure::Fault { culprits, ban: false, detail }) = &ended[&1] else { panic!("{ended:?}") };
    assert_eq!((culprits[0].number(), detail.text.contains("copy")), (2, true));
    let Err(Failure::Fault { culprits, ban: false, .. }) = &ended[&3] else { panic!("{ended:?}") };
    assert!(culprits.is_empty(), "who copied whom can't be proved: {ended:?}");

    let (mut cluster, _) = keygen(3, 3);
    let ended = copy_of_party_1(&mut cluster, &Task::Refresh);
    assert!(
        matches!(&ended[&1], Err(Failure::Fault { detail, .. }) if detail.text.contains("copy")),
        "{ended:?}"
    );
}

#[test]
fn a_proof_that_is_not_the_committed_one_is_a_fault_of_its_sender() {
    let (mut cluster, _) = keygen(2, 3);
    for task in [keygen_task(), Task::Refresh] {
        let ended = cluster.run_with::<Dkls23>(&[1, 2, 3], &task, |mut hop| {
            let broadcast = hop.message.delivery == quorate_plugin_sdk::Delivery::Broadcast;
            if broadcast && hop.message.from.number() == 3 {
                // The middle of the proof: a response.
                let middle = hop.message.payload.len() / 2;
                hop.message.payload[middle] ^= 1;
            }
            Some(hop)
        });
        for honest in [1, 2] {
            let Err(Failure::Fault { culprits, ban: false, .. }) = &ended[&honest] else {
                panic!("{ended:?}")
            };
            assert_eq!(culprits.iter().map(|c| c.number()).collect::<Vec<_>>(), [3], "{ended:?}");
        }
    }
}

#[test]
fn a_broken_keygen_message_ends_the_session_and_bans_nobody() {
    let mut cluster = Cluster::new(2, 3);
    for round in 1..=3 {
        let ended = cluster.run_with::<Dkls23>(&[1, 2, 3], &keygen_task(), |mut hop| {
            if hop.message.from.number() == 3 && hop.message.round == round {
                let last = hop.message.payload.len() - 1;
                hop.message.payload[last] ^= 1;
            }
            Some(hop)
        });
        for party in [1, 2] {
            match &ended[&party] {
                Err(Failure::Fault { culprits, ban: false, .. }) => {
                    // A wrong fragment can't be traced; everything later names its sender.
                    assert!(round == 1 || !culprits.is_empty(), "round {round}: {ended:?}");
                    assert!(culprits.iter().all(|c| c.number() == 3), "round {round}: {ended:?}");
                }
                // The other honest party was the first to see it.
                Err(Failure::Internal(detail)) if detail.text == "timeout" => {}
                other => panic!("round {round}: {other:?}"),
            }
            assert!(cluster.host(party).vault_get(Scope::Key, "share").unwrap().is_none());
        }
        assert!(ended.values().any(|e| matches!(e, Err(Failure::Fault { .. }))), "round {round}: {ended:?}");
    }
}

#[test]
fn messages_that_have_no_place_are_faults_of_their_sender() {
    let (cluster, _) = keygen(2, 2);
    type Bend = (&'static str, fn(&mut quorate_plugin_sdk::Incoming));
    let bends: [Bend; 4] = [
        ("far too long", |m| m.payload.resize(1_000_000, 0)),
        ("a byte too many", |m| m.payload.push(0)),
        ("another round", |m| m.round = 3),
        ("another kind", |m| m.delivery = quorate_plugin_sdk::Delivery::Broadcast),
    ];
    for (what, bend) in bends {
        let ended = cluster.clone().run_with::<Dkls23>(&[1, 2], &sign_task([item()]), |mut hop| {
            if hop.to.number() == 1 && hop.message.round == 1 {
                bend(&mut hop.message);
            }
            Some(hop)
        });
        let Err(Failure::Fault { culprits, ban, .. }) = &ended[&1] else { panic!("{what}: {ended:?}") };
        assert_eq!((culprits[0].number(), *ban), (2, false), "{what}");
    }
}

#[test]
fn tasks_that_can_not_be_done_are_refused_before_anything_is_sent() {
    let (mut cluster, _) = keygen(2, 3);
    let bad = [
        sign_task([SignItem { message: vec![1; 31], ..item() }]),
        sign_task([SignItem { path: vec![1 << 31], ..item() }]),
        sign_task([SignItem { merkle_root: Some([0; 32]), ..item() }]),
        sign_task([SignItem { presignature: Some("p".into()), ..item() }]),
        sign_task([item(), SignItem { message: vec![1; 31], ..item() }]),
        sign_task([]),
        sign_task(vec![item(); 65]),
        Task::Sign(SignTask { scheme: "ed25519".into(), items: vec![item()] }),
    ];
    for task in bad {
        let ended = cluster.run_with::<Dkls23>(&[1, 2], &task, |_| panic!("{task:?} sent a message"));
        assert!(ended.values().all(|e| matches!(e, Err(Failure::InvalidTask(_)))), "{ended:?}");
    }
    // Three signers where t = 2 would be refused by the library in its own way; we say it first.
    let ended = cluster.run_with::<Dkls23>(&[1, 2, 3], &sign_task([item()]), Some);
    assert!(ended.values().all(|e| matches!(e, Err(Failure::InvalidTask(_)))), "{ended:?}");
}

#[test]
fn a_share_that_is_not_ours_is_refused() {
    let (mut cluster, _) = keygen(2, 3);
    let others = cluster.host(2).vault_get(Scope::Key, "share").unwrap().unwrap();
    let own = cluster.host(1).vault_get(Scope::Key, "share").unwrap().unwrap();
    let mut other_format = own.to_vec();
    other_format[0] = 2;
    for (what, share) in [
        ("another party's", others.to_vec()),
        ("cut short", own[..own.len() - 1].to_vec()),
        ("of another format", other_format),
        ("empty", vec![]),
    ] {
        cluster.host(1).seed(Scope::Key, "share", share);
        let ended = cluster.run_with::<Dkls23>(&[1, 2], &sign_task([item()]), Some);
        assert!(matches!(ended[&1], Err(Failure::InvalidShare(_))), "{what}: {ended:?}");
    }
}
