//! Processes whose clocks are wrong: they make no signature and no share, and the error names who must act.

use std::path::PathBuf;
use std::process::Stdio;

use quorate_tests::embedded::{Caller, Reply, try_send};
use quorate_tests::fleet::{Fleet, FleetSetup, Member};
use reqwest::Method;
use serde_json::json;

/// The library that shows a process another time.
fn other_time() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok);
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    libraries.find(|path| path.is_file()).expect("libfaketime is missing: run tests/services.sh install")
}

/// The command of a process whose clock is this far from ours.
fn apart(fleet: &Fleet, member: Member, by: &str) -> std::process::Command {
    let mut command = fleet.command(member);
    // Only the time of day: timers go on as they are.
    command.env("LD_PRELOAD", other_time()).env("FAKETIME", by).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command.env("FAKETIME_NO_CACHE", "1");
    command
}

/// Starts a process again with a clock that is this far from ours.
async fn set_apart(fleet: &mut Fleet, member: Member, by: &str) {
    fleet.kill(member);
    let child = apart(fleet, member, by).stderr(Stdio::null()).spawn().unwrap();
    fleet.adopt(member, child);
    fleet.await_health(member).await;
}

fn refused(reply: &Reply) {
    assert_eq!((reply.status, reply.text("code")), (500, "clock_skew"), "{reply:?}");
}

#[tokio::test]
async fn clocks_that_are_apart_are_named_and_nothing_is_signed_by_them() {
    let setup = FleetSetup { accounts: 2, coordinators: 1, routers: 1, ..FleetSetup::default() };
    let mut fleet = Fleet::start(setup).await;
    let (id, key) = fleet.create(0).await;

    set_apart(&mut fleet, Member::Account(1), "+180s").await;
    refused(&fleet.caller(1).sign(&id, [1; 32]).await);
    fleet.sign(0, &id, &key, [2; 32]).await;
    set_apart(&mut fleet, Member::Account(1), "+20s").await;
    fleet.sign(1, &id, &key, [3; 32]).await;

    // By the clock of party 3 every order has expired.
    set_apart(&mut fleet, Member::Party(2), "+700s").await;
    let path = format!("/api/v1/accounts/{id}/sign");
    let body = json!({ "message": hex::encode([4; 32]), "signers": [1, 3] });
    refused(&fleet.caller(0).post(&path, &body).await);
    fleet.sign(0, &id, &key, [5; 32]).await;

    // One that has seen a later time is not well, says why, and takes nothing on.
    fleet.kill(Member::Party(0));
    let behind = apart(&fleet, Member::Party(0), "-180s").stderr(Stdio::null()).spawn().unwrap();
    fleet.adopt(Member::Party(0), behind);
    let party = Caller::new(fleet.address(Member::Party(0)));
    let health = || try_send(party.bare(Method::GET, "/health"));
    let mut said = health().await;
    for _ in 0..200 {
        if said.as_ref().is_some_and(|reply| reply.status == 503) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        said = health().await;
    }
    let health = said.unwrap();
    assert!(health.text("trouble").contains("seconds behind the latest time"), "{health:?}");
    fleet.restart(Member::Party(0)).await;
    fleet.sign(0, &id, &key, [6; 32]).await;
}
