//! Shares that earlier versions have stored are used for ever: `fixtures/` has the shares of one key of 2 of 2 in each format, and its
//! public key.
//!
//! A file is never changed. `WRITE_FIXTURES=1 cargo test -p quorate-dkls23 --test stored_shares` adds those of a format that has none yet.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::PathBuf;

use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::{Message, PublicKey, Secp256k1};
use quorate_dkls23::Dkls23;
use quorate_plugin_sdk::{Failure, HashFunction, Host, Outcome, Protocol, Scope, SignItem, SignTask, Task};
use quorate_plugin_testkit::Cluster;

const NAME: &str = "share";
const SCHEME: &str = "ecdsa-secp256k1";

fn file(format: u32, name: &str) -> PathBuf {
    let name = format!("format-{format}-{name}");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn write(format: u32) {
    let mut cluster = Cluster::new(2, 2);
    let task = Task::Keygen { scheme: SCHEME.into() };
    let Outcome::Key(key) = cluster.run::<Dkls23>(&[1, 2], &task) else { panic!() };
    std::fs::write(file(format, "key"), key.public_key).unwrap();
    for party in 1..=2 {
        let share = cluster.host(party).vault_get(Scope::Key, NAME).unwrap().unwrap();
        std::fs::write(file(format, &format!("share-{party}")), &*share).unwrap();
    }
}

fn sign() -> Task {
    let item = SignItem {
        message: vec![7; 32],
        hash: HashFunction::None,
        path: vec![],
        merkle_root: None,
        presignature: None,
    };
    Task::Sign(SignTask { scheme: SCHEME.into(), items: vec![item] })
}

#[test]
fn shares_of_every_format_sign_and_are_refreshed() {
    let formats = Dkls23::describe().share_formats;
    for &format in formats {
        if !file(format, "key").exists() && std::env::var("WRITE_FIXTURES").is_ok() {
            write(format);
        }
        let read = |name: &str| std::fs::read(file(format, name)).unwrap();
        let mut cluster = Cluster::new(2, 2);
        for party in 1..=2 {
            cluster.host(party).seed(Scope::Key, NAME, read(&format!("share-{party}")));
        }
        let Outcome::Signatures(signatures) = cluster.run::<Dkls23>(&[1, 2], &sign()) else { panic!() };
        let signature = Signature::from_compact(&signatures[0].bytes).unwrap();
        let key = PublicKey::from_slice(&read("key")).unwrap();
        let message = Message::from_digest([7; 32]);
        Secp256k1::new().verify_ecdsa(&message, &signature, &key).unwrap();
        let Outcome::Refreshed(refreshed) = cluster.run::<Dkls23>(&[1, 2], &Task::Refresh) else { panic!() };
        assert_eq!(refreshed.public_key, read("key"));

        // A format that is not known is said, and nothing is decoded by it.
        let later = formats.last().unwrap() + 1;
        let mut of_later = read("share-1");
        of_later[0] = u8::try_from(later).unwrap();
        cluster.host(1).seed(Scope::Key, NAME, of_later);
        let ended = cluster.run_with::<Dkls23>(&[1, 2], &sign(), Some);
        let Err(Failure::InvalidShare(detail)) = &ended[&1] else { panic!("{ended:?}") };
        assert!(detail.text.contains(&format!("format {later}")), "{}", detail.text);
    }
}
