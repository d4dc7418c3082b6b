//! The program as a process: signals, crashes, and what keeps it from starting.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use quorate_kit::random32;
use quorate_tests::components;
use quorate_tests::embedded::{Caller, Reply, send};
use quorate_tests::single_process::{Server, command, free_address, program};
use reqwest::Method;
use serde_json::json;

async fn up(server: &Server) {
    server.first_answer().await;
}

async fn create(caller: &Caller) -> Option<Reply> {
    let request = caller.request(Method::POST, "/api/v1/accounts").header("idempotency-key", "one account");
    let response = request.json(&json!({ "user_id": "user123" })).send().await.ok()?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Some(Reply { status, headers, body: response.json().await.ok()? })
}

async fn active_accounts(data: &Path) -> i64 {
    let file = data.join("account.db");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM accounts WHERE state = 'active'").fetch_one(&pool).await.unwrap()
}

#[tokio::test]
async fn a_process_that_is_killed_at_any_time_makes_one_account_for_one_key() {
    let folder = tempfile::tempdir().unwrap();
    for millis in [300, 700, 1_100, 1_400, 1_700] {
        let server = Server::start(folder.path(), 3);
        up(&server).await;
        let caller = server.caller.clone();
        let creating = tokio::spawn(async move { create(&caller).await });
        tokio::time::sleep(Duration::from_millis(millis)).await;
        drop(server);
        let _ = creating.await;
    }
    let server = Server::start(folder.path(), 3);
    up(&server).await;
    let account = create(&server.caller).await.unwrap().good();
    assert_eq!(create(&server.caller).await.unwrap().good().body, account.body);
    assert_eq!(active_accounts(folder.path()).await, 1);
    let signed = server.caller.sign(account.text("id"), random32()).await.good();
    assert_eq!(signed.text("public_key"), account.text("public_key"));
}

#[tokio::test]
async fn a_process_that_is_killed_while_it_refreshes_can_still_sign() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), 3);
    up(&server).await;
    let id = server.caller.create().await;
    let path = format!("/api/v1/accounts/{id}/refresh");
    drop(server);
    for millis in [200, 600, 1_000, 1_300, 1_600] {
        let server = Server::start(folder.path(), 3);
        up(&server).await;
        let request = server.caller.request(Method::POST, &path);
        let refreshing = tokio::spawn(request.send());
        tokio::time::sleep(Duration::from_millis(millis)).await;
        drop(server);
        let _ = refreshing.await;
        let server = Server::start(folder.path(), 3);
        up(&server).await;
        // What the parties did before they were killed has to be heard of first.
        let mut signed = server.caller.sign(&id, random32()).await;
        for _ in 0..20 {
            if signed.status == 200 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            signed = server.caller.sign(&id, random32()).await;
        }
        assert_eq!(signed.status, 200, "killed after {millis} ms: {}", signed.body);
    }
    let server = Server::start(folder.path(), 3);
    up(&server).await;
    // No lock of a refresh that came to nothing is left.
    let refreshed = send(server.caller.request(Method::POST, &path)).await.good();
    assert!(refreshed.body["epoch"].as_u64().unwrap() >= 2);
}

#[tokio::test]
async fn a_process_that_is_told_to_end_finishes_what_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), 3);
    up(&server).await;
    let caller = server.caller.clone();
    let creating = tokio::spawn(async move { create(&caller).await });
    tokio::time::sleep(Duration::from_millis(400)).await;
    server.signal("TERM");
    assert_eq!(creating.await.unwrap().unwrap().status, 201);
    assert!(server.ended_well());
}

#[tokio::test]
async fn a_second_process_leaves_the_folder_of_the_first_alone() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), 3);
    up(&server).await;
    let mut second = command(folder.path(), 3, free_address());
    let output = tokio::task::spawn_blocking(move || second.stderr(Stdio::piped()).output().unwrap());
    let output = tokio::time::timeout(Duration::from_secs(20), output).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("another process uses this folder"), "{said}");
    let id = server.caller.create().await;
    let _ = server.caller.sign(&id, random32()).await.good();
}

#[tokio::test]
async fn it_answers_once_its_components_are_installed() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("plugin.wasm");
    // A pipe: reading the component takes as long as the test wants.
    assert!(std::process::Command::new("mkfifo").arg(&plugin).status().unwrap().success());
    let server = Server::start_with(folder.path(), 2, &plugin);
    let health = || server.caller.bare(Method::GET, "/health").timeout(Duration::from_millis(500)).send();
    for _ in 0..5 {
        assert!(
            !health().await.is_ok_and(|reply| reply.status().is_success()),
            "it answers without a component"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::task::spawn_blocking(move || std::fs::write(&plugin, components::bytes("dkls23")))
        .await
        .unwrap()
        .unwrap();
    up(&server).await;
    server.caller.create().await;
}

#[tokio::test]
async fn a_component_is_replaced_when_the_process_is_told_to_look() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("plugin.wasm");
    std::fs::write(&plugin, components::bytes("dkls23")).unwrap();
    let server = Server::start_with(folder.path(), 2, &plugin);
    up(&server).await;
    let id = server.caller.create().await;
    let first = server.caller.sign(&id, random32()).await.good();
    std::fs::write(&plugin, b"half a component").unwrap();
    server.signal("HUP");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let same = server.caller.sign(&id, random32()).await.good();
    assert_eq!(same.body["plugin_digest"], first.body["plugin_digest"], "a bad component was taken");
    std::fs::write(&plugin, components::bytes("dkls23-next")).unwrap();
    server.signal("HUP");
    for _ in 0..50 {
        let signed = server.caller.sign(&id, random32()).await.good();
        if signed.body["plugin_digest"] != first.body["plugin_digest"] {
            assert_eq!(signed.body["public_key"], first.body["public_key"]);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the component was not replaced");
}

/// Runs a server that must not start, and gives what it says.
fn refused(mut command: std::process::Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_said_and_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), 2);
    up(&server).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let said = refused(command(elsewhere.path(), 2, taken.local_addr().unwrap()));
    assert!(said.contains("another process may be using the port"), "{said}");
    drop(server);

    let said = refused(command(folder.path(), 17, free_address()));
    assert!(said.contains("at most 16"), "{said}");
    let mut unknown = command(folder.path(), 2, free_address());
    unknown.env("QUORATE_LISTN", "x");
    assert!(refused(unknown).contains("QUORATE_LISTN"));
    let mut missing = command(folder.path(), 2, free_address());
    missing.args(["--plugin", "/nowhere.wasm"]);
    let said = refused(missing);
    assert!(said.contains("/nowhere.wasm") && said.contains("make plugins"), "{said}");

    let key = folder.path().join("secrets/party-1/master_key");
    let right = std::fs::read(&key).unwrap();
    std::fs::write(&key, "ab".repeat(32)).unwrap();
    let said = refused(command(folder.path(), 2, free_address()));
    assert!(said.contains("party-1.db") && said.contains("CRYPTO_MASTER_KEY"), "{said}");
    std::fs::write(&key, "no key").unwrap();
    let said = refused(command(folder.path(), 2, free_address()));
    assert!(said.contains("master_key") && !said.contains("no key"), "{said}");
    std::fs::remove_file(&key).unwrap();
    let said = refused(command(folder.path(), 2, free_address()));
    assert!(said.contains("master_key") && said.contains("backup"), "{said}");
    assert!(!key.exists(), "another key was made");
    std::fs::write(&key, right).unwrap();
    let mode =
        |mode| std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o644);
    let said = refused(command(folder.path(), 2, free_address()));
    assert!(said.contains("master_key") && said.contains("chmod go-rwx"), "{said}");
    mode(0o600);
    let written = |file: &str| {
        let metadata = std::fs::metadata(folder.path().join(file)).unwrap();
        std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077
    };
    assert_eq!((written("party-1.db"), written("compiled")), (0, 0), "others can read what it writes");
    up(&Server::start(folder.path(), 2)).await;
}

/// Settings on standard input of `quorate check`, and what it says of them.
fn checked(settings: &str, arguments: &[&str]) -> (bool, String) {
    let mut child = std::process::Command::new(program())
        .env_clear()
        // It is not about this one.
        .env("QUORATE_PARTIES", "none")
        .arg("check")
        .args(arguments)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It ends without reading all of what is too long.
    let _ = child.stdin.take().unwrap().write_all(settings.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn settings_are_checked_without_starting_anything() {
    let good = "# A comment\n\nENVIRONMENT=production\nALLOWED_IPS=10.0.0.0/8\n\
                MPC_API_KEY=a key of this test\nREDIS_ULR=x\n";
    let (well, said) = checked(good, &[]);
    assert!(well && said.contains("REDIS_ULR: this looks like a setting"), "{said}");
    for (line, wanted) in [
        ("ALLOWED_IPS=10.0.0.0/33", "ALLOWED_IPS"),
        ("QUORATE_SIGN_TIMOUT_MS=10000", "QUORATE_SIGN_TIMOUT_MS: there is no such setting"),
        ("QUORATE_LOG=quorate=loud", "QUORATE_LOG"),
        ("JWT_SECRET_KEY=change-me-change-me-change-me-change-me", "JWT_SECRET_KEY"),
        ("QUORATE_LISTEN=0.0.0.0:4000", "QUORATE_LISTEN"),
        ("a secret where no name is", "line 7 is not NAME=value"),
    ] {
        let (well, said) = checked(&format!("{good}{line}\n"), &[]);
        assert!(!well && said.contains(wanted), "{line}: {said}");
        assert!(!said.contains("secret where") && !said.contains("change-me"), "a secret was shown: {said}");
    }
    let here = components::folder().join("dkls23.wasm");
    let plugins =
        |path: &Path| checked(&format!("QUORATE_PLUGIN_FILES={}\n", path.display()), &["--plugins"]);
    assert!(plugins(&here).0);
    let (well, said) = plugins(Path::new("/nowhere.wasm"));
    assert!(!well && said.contains("QUORATE_PLUGIN_FILES: /nowhere.wasm"), "{said}");
    let (well, said) = plugins(Path::new("/etc/passwd"));
    assert!(!well && said.contains("not a WebAssembly component"), "{said}");
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let (well, said) = checked(&format!("QUORATE_IDENTITY_KEY={seed}\n"), &[]);
    // Test 1 of RFC 8032, section 7.1.
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    assert!(
        well && said.contains(public)
            && said.contains("schemas: account 1, coordinator 1, party 1")
            && !said.contains(seed),
        "{said}"
    );
    let (well, said) = checked(&"#".repeat(2 << 20), &[]);
    assert!(!well && said.contains("too long"), "{said}");
}
