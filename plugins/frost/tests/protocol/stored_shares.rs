//! Shares that earlier versions have stored are used for ever: each file in `fixtures/` has the shares of one key in one format.
//!
//! A file is never changed. `WRITE_FIXTURES=1 cargo test -p quorate-frost stored_shares` adds those of a format that has none yet.

use std::path::PathBuf;

use quorate_frost::{FrostEd25519, FrostSecp256k1Taproot};
use quorate_plugin_sdk::{Failure, Host, Outcome, Protocol, Scope, Task};
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

fn stored_shares_sign_and_are_refreshed<P: Protocol>() {
    let formats = P::describe().share_formats;
    for &format in formats {
        let path = file(P::describe().id, format);
        if !path.exists() && std::env::var("WRITE_FIXTURES").is_ok() {
            write::<P>(format);
        }
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let lines: Vec<_> = text.lines().map(unhex).collect();
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
        assert!(!matches!(refreshed[&1], Ok(Outcome::Refreshed(_))));
    }
}

#[test]
fn shares_of_every_format_sign_and_are_refreshed() {
    stored_shares_sign_and_are_refreshed::<FrostEd25519>();
    stored_shares_sign_and_are_refreshed::<FrostSecp256k1Taproot>();
}
