//! Which components run: those that a party's operator has pinned, and nothing older than either side allows.

use std::process::Stdio;

use quorate_tests::components;
use quorate_tests::fleet::{Fleet, FleetSetup, Member};
use serde_json::json;
use sha2::{Digest, Sha256};

const TOO_NEW: &str = "dkls23=9.9.9";

#[tokio::test]
async fn nothing_runs_that_is_not_pinned_or_is_older_than_an_operator_allows() {
    let digest = hex::encode(Sha256::digest(components::bytes("dkls23")));
    let own = |member, name: &str, value: &str| (member, name.to_owned(), value.to_owned());
    let setup = FleetSetup {
        coordinators: 1,
        routers: 1,
        own_settings: vec![
            own(Member::Party(0), "QUORATE_PLUGIN_DIGESTS", &digest),
            own(Member::Account(1), "QUORATE_MINIMUM_PLUGIN", TOO_NEW),
        ],
        ..FleetSetup::default()
    };
    let mut fleet = Fleet::start(setup).await;
    let (id, key) = fleet.create(0).await;
    fleet.sign(0, &id, &key, [1; 32]).await;

    // An account service that allows nothing older says so in its orders.
    let refused = fleet.caller(1).sign(&id, [2; 32]).await;
    assert_eq!((refused.status, refused.text("code")), (503, "plugin_unavailable"), "{refused:?}");

    // A party whose file is not the pinned one does not start.
    fleet.kill(Member::Party(1));
    let mut command = fleet.command(Member::Party(1));
    command.env("QUORATE_PLUGIN_DIGESTS", "ab".repeat(32)).stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains(&digest), "{said}");
    fleet.restart(Member::Party(1)).await;

    // A party that allows nothing older runs nothing.
    fleet.kill(Member::Party(2));
    let mut command = fleet.command(Member::Party(2));
    let child = command.env("QUORATE_MINIMUM_PLUGIN", TOO_NEW).stderr(Stdio::null()).spawn().unwrap();
    fleet.adopt(Member::Party(2), child);
    fleet.await_health(Member::Party(2)).await;
    let path = format!("/api/v1/accounts/{id}/sign");
    let body = json!({ "message": hex::encode([3; 32]), "signers": [1, 3] });
    let refused = fleet.caller(0).post(&path, &body).await;
    assert_eq!((refused.status, refused.text("code")), (503, "plugin_unavailable"), "{refused:?}");
    fleet.sign(0, &id, &key, [4; 32]).await;
}
