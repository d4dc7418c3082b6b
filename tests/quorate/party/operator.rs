//! The acts of an operator at a party, through the socket on its machine.

use std::process::Command;

use quorate_tests::fleet::{DatabaseOf, Fleet, FleetSetup, Member};
use quorate_tests::fleet_calls::admin;
use quorate_tests::single_process::program;
use serde_json::json;

#[tokio::test]
async fn an_operator_frees_accounts_readmits_peers_and_suspends_plugins() {
    let setup = FleetSetup { accounts: 1, coordinators: 1, routers: 1, ..FleetSetup::default() };
    let mut fleet = Fleet::start(setup).await;
    let (id, key) = fleet.create(0).await;
    let socket = fleet.folder().join("party-0/admin.sock");
    // A lock that is never released.
    let mut database = fleet.database(DatabaseOf::Party(0)).await;
    let lock = "INSERT INTO locks (account, plan) VALUES ($1, $2)";
    let account = quorate_net::web::params::account_id(&id).unwrap();
    let lock = sqlx::query(lock).bind(account.as_bytes()).bind([1_u8; 32].as_slice());
    lock.execute(&mut database).await.unwrap();
    let refresh = format!("/api/v1/accounts/{id}/refresh");
    let refused = fleet.caller(0).post(&refresh, &json!({})).await;
    assert_eq!((refused.status, refused.text("code")), (409, "busy"), "{refused:?}");
    assert_eq!(admin(&socket, &["unlock", &id]).unwrap(), "done");
    assert_eq!(admin(&socket, &["unlock", &id]).unwrap(), "there was nothing to do");
    assert_eq!(fleet.caller(0).post(&refresh, &json!({})).await.good().body["epoch"], json!(2));
    // A peer that was set back.
    let peer = fleet.party_keys()[1].clone();
    let reuse_last_counter = "UPDATE peers SET highest = 1000000, settled = 1000000 WHERE identity = $1";
    let reuse_last_counter = sqlx::query(reuse_last_counter).bind(hex::decode(&peer).unwrap());
    assert_eq!(reuse_last_counter.execute(&mut database).await.unwrap().rows_affected(), 1);
    let body = json!({ "message": "07".repeat(32), "signers": [1, 2] });
    let refused = fleet.caller(0).post(&format!("/api/v1/accounts/{id}/sign"), &body).await;
    assert_eq!((refused.status, refused.text("code")), (502, "peer_fault"), "{refused:?}");
    assert_eq!(admin(&socket, &["readmit", &peer]).unwrap(), "done");
    assert_eq!(fleet.caller(0).post(&format!("/api/v1/accounts/{id}/sign"), &body).await.status, 200);
    // A component that is not trusted any more: not after a restart either.
    let listed = admin(&socket, &["registry"]).unwrap();
    let digest = listed.split(' ').next().unwrap().to_owned();
    assert_eq!(listed, format!("{digest} active dkls23 {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(admin(&socket, &["suspend", &digest]).unwrap(), "done");
    assert_eq!(admin(&socket, &["registry"]).unwrap(), format!("{digest} suspended"));
    fleet.sign(0, &id, &key, [8; 32]).await;
    fleet.restart(Member::Party(0)).await;
    assert_eq!(admin(&socket, &["registry"]).unwrap(), format!("{digest} suspended"));
    let refused = fleet.caller(0).post(&refresh, &json!({})).await;
    assert_eq!((refused.status, refused.text("code")), (503, "plugin_unavailable"), "{refused:?}");
    for (act, why) in [
        (["unlock", "nonsense"], "UUID"),
        (["readmit", "00"], "a public key of 64 hexadecimal characters"),
        (["suspend", "zz"], "64 hexadecimal characters"),
    ] {
        let refused = admin(&socket, &act).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
    let refused = admin(&fleet.folder().join("nobody.sock"), &["registry"]).unwrap_err();
    assert!(refused.contains("no party listens here"), "{refused}");
}

#[tokio::test]
async fn the_socket_is_for_the_partys_own_user() {
    use std::os::unix::fs::PermissionsExt;
    let setup = FleetSetup { accounts: 0, coordinators: 0, routers: 0, parties: 2, ..FleetSetup::default() };
    let settings = vec![
        ("QUORATE_COORDINATORS".to_owned(), "http://127.0.0.1:1".to_owned()),
        ("QUORATE_ROUTERS".to_owned(), "http://127.0.0.1:1".to_owned()),
    ];
    let fleet = Fleet::start(FleetSetup { settings, ..setup }).await;
    let socket = fleet.folder().join("party-0/admin.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Even if its file lets them in: the kernel says who they are.
    for path in socket.ancestors().skip(1).take(2) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    let root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&socket).unwrap()) == 0;
    if root {
        use std::os::unix::process::CommandExt;
        let copy = fleet.folder().join("quorate");
        std::fs::copy(program(), &copy).unwrap();
        let mut command = Command::new(copy);
        command.env_clear().arg("admin").arg("--socket").arg(&socket).arg("registry").uid(65_534).gid(65_534);
        let output = command.output().unwrap();
        assert!(!output.status.success(), "another user was let in");
        assert!(
            fleet.logged(Member::Party(0)).contains("refused a connection to the admin socket"),
            "refused by something else"
        );
    }
    // A second process is not to take the socket away from the first.
    let second = fleet
        .command(Member::Party(0))
        .env("QUORATE_PARTY_LISTEN", quorate_tests::single_process::free_address().to_string())
        .env("QUORATE_REPLICA", "another")
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another process listens on this socket"), "{said}");
}
