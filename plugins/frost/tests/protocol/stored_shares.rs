//! Shares that earlier versions have stored are used for ever: each file in `fixtures/` has the shares of one key in one format.
//!
//! A file is never changed. `WRITE_FIXTURES=1 cargo test -p quorate-frost stored_shares` adds those of a format that has none yet.

use std::path::PathBuf;

use bitcoin::secp256k1::SecretKey;
use quorate_frost::{FrostEd25519, FrostSecp256k1Taproot};
use quorate_plugin_sdk::{Failure, Host, Protocol, Scope, Task};
use quorate_plugin_testkit::Cluster;

use crate::{item, keygen, refresh, sign, sign_task};

const NAME: &str = "share";

fn file(plugin: &str, format: u32) -> PathBuf {
    let name = format!("{plugin}-format-{format}.txt");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The public key in the first line, and the share of each party in one of its own.
fn write<P: Protocol>(format: u32) {
    let (mut cluster, key) = keygen::<P>(2, 3);
    let mut lines = vec![hex(&key.public_key)];
    for party in 1..=3 {
        lines.push(hex(&cluster.host(party).vault_get(Scope::Key, NAME).unwrap().unwrap()));
    }
    std::fs::write(file(P::describe().id, format), lines.join("\n") + "\n").unwrap();
}

fn read<P: Protocol>(format: u32) -> Vec<Vec<u8>> {
    let path = file(P::describe().id, format);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(unhex).collect()
}

fn stored_shares_sign_and_are_refreshed<P: Protocol>() {
    let formats = P::describe().share_formats;
    for &format in formats {
        if !file(P::describe().id, format).exists() && std::env::var("WRITE_FIXTURES").is_ok() {
            write::<P>(format);
        }
        let lines = read::<P>(format);
        let mut cluster = Cluster::new(2, 3);
        for (party, share) in (1..).zip(&lines[1..]) {
            cluster.host(party).seed(Scope::Key, NAME, share.clone());
        }
        // The first number of a share is its format.
        assert_eq!(u32::from(lines[1][0]), format);
        for signers in [[1, 2], [1, 3], [2, 3]] {
            sign::<P>(&mut cluster, &signers, vec![item(&[7; 32])]);
        }
        assert_eq!(refresh::<P>(&mut cluster).public_key, lines[0]);

        // A format that is not known is said, and nothing is decoded by it.
        let newest = formats.last().unwrap();
        let mut of_later = lines[1].clone();
        of_later[0] = u8::try_from(newest + 1).unwrap();
        cluster.host(1).seed(Scope::Key, NAME, of_later);
        let task = sign_task(P::describe().schemes[0], vec![item(&[7; 32])]);
        let ended = cluster.run_with::<P>(&[1, 2], &task, Some);
        let Err(Failure::InvalidShare(detail)) = &ended[&1] else { panic!("{ended:?}") };
        assert!(detail.text.contains(&format!("format {}", newest + 1)), "{}", detail.text);
        let refreshed = cluster.run_with::<P>(&[1, 2, 3], &Task::Refresh, Some);
        assert!(matches!(&refreshed[&1], Err(Failure::InvalidShare(_))), "{refreshed:?}");
    }
}

#[test]
fn shares_of_every_format_sign_and_are_refreshed() {
    stored_shares_sign_and_are_refreshed::<FrostEd25519>();
    stored_shares_sign_and_are_refreshed::<FrostSecp256k1Taproot>();
}

/// Where the parts of a share in format 1 are: format, party and threshold in a byte each, the scalar, the group's key behind its length,
/// and the number of public shares, each behind its length.
const SCALAR: std::ops::Range<usize> = 3..35;
const GROUP_KEY: usize = 36;

/// Party 1 with another share than its own does not sign, and says why.
fn refuses<P: Protocol>(change: impl Fn(&mut Vec<u8>), why: &str) {
    let lines = read::<P>(1);
    let mut cluster = Cluster::new(2, 3);
    for (party, share) in (1..).zip(&lines[1..]) {
        cluster.host(party).seed(Scope::Key, NAME, share.clone());
    }
    let mut changed = lines[1].clone();
    change(&mut changed);
    cluster.host(1).seed(Scope::Key, NAME, changed);
    let task = sign_task(P::describe().schemes[0], vec![item(&[7; 32])]);
    let ended = cluster.run_with::<P>(&[1, 2], &task, Some);
    let Err(Failure::InvalidShare(detail)) = &ended[&1] else { panic!("{why}: {ended:?}") };
    assert_eq!(detail.code, 40);
    assert!(detail.text.contains(why), "{}", detail.text);
}

#[test]
fn a_stored_share_that_does_not_fit_is_not_used() {
    let of_another_party = |share: &mut Vec<u8>| share[1] = 2;
    let of_another_threshold = |share: &mut Vec<u8>| share[2] = 3;
    let point = 32;
    let publics = GROUP_KEY + point + 1;
    let swapped = move |share: &mut Vec<u8>| {
        let (second, third) = (publics + point + 1, publics + 2 * (point + 1));
        let (one, other) = share.split_at_mut(third);
        one[second + 1..second + 1 + point].swap_with_slice(&mut other[1..1 + point]);
    };
    refuses::<FrostEd25519>(of_another_party, "not this party's");
    refuses::<FrostEd25519>(of_another_threshold, "not this party's");
    refuses::<FrostEd25519>(|share| share[SCALAR.start] ^= 1, "not of one party and key");
    refuses::<FrostEd25519>(swapped, "do not interpolate");

    // All of it negated: the same key by BIP-340, with an odd y.
    let negated = |share: &mut Vec<u8>| {
        let scalar = SecretKey::from_slice(&share[SCALAR]).unwrap().negate();
        share[SCALAR].copy_from_slice(&scalar.secret_bytes());
        let publics = GROUP_KEY + 33 + 1;
        for tag in [GROUP_KEY, publics + 1, publics + 34 + 1, publics + 2 * 34 + 1] {
            share[tag] ^= 1;
        }
    };
    refuses::<FrostSecp256k1Taproot>(negated, "odd y");
    refuses::<FrostSecp256k1Taproot>(|share| share[SCALAR.end - 1] ^= 1, "not of one party and key");
}
