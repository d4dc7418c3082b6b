//! PostgreSQL, RabbitMQ and Redis go away and come back, or are not there at the start.

use std::time::{Duration, Instant};

use quorate_core::identity::SecretKey;
use quorate_tests::embedded::Reply;
use quorate_tests::fault_injection::{Account, assert_parties_agree, assert_signs_again, assert_typed};
use quorate_tests::fleet::{DatabaseOf, Fleet, FleetSetup, Member};
use quorate_tests::services::OwnServer;
use reqwest::Method;
use serde_json::json;

/// How long after a service is back all must be well again.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(20);

async fn health(fleet: &Fleet, member: Member) -> Reply {
    let caller = quorate_tests::embedded::Caller::new(fleet.address(member));
    quorate_tests::embedded::send(caller.bare(Method::GET, "/health")).await
}

/// After a service is back, and with all parties of one mind.
async fn signs_again(fleet: &Fleet, account: &Account, what: &str) {
    let case = format!("{what} is back");
    assert_signs_again(fleet, account, None, &case).await;
    assert_parties_agree(fleet, account, &case).await;
}

/// A request that can't be served now is told so, and when to try again.
fn assert_try_again(reply: &Reply, what: &str) {
    assert_eq!(reply.status, 503, "without {what}: {reply:?}");
    assert!(reply.headers.contains_key("retry-after"), "{reply:?}");
}

/// Waits until a process says this of itself.
async fn await_status(fleet: &Fleet, member: Member, status: &str) {
    let began = Instant::now();
    loop {
        let health = health(fleet, member).await;
        if health.text("status") == status {
            return;
        }
        assert!(began.elapsed() < RECOVERY_TIMEOUT, "{status} was wanted: {health:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Gives an account new shares while a service dies in the middle of it. It may work, or fail for now.
async fn refresh_without(fleet: &Fleet, account: &Account, server: &mut OwnServer, what: &str) {
    let path = format!("/api/v1/accounts/{}/refresh", account.id);
    let caller = fleet.caller(0);
    let body = json!({});
    let (refreshed, ()) = tokio::join!(caller.post(&path, &body), async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        server.kill();
    });
    if assert_typed(&refreshed, what) {
        assert_eq!(refreshed.text("public_key"), hex::encode(&account.key));
    }
}

#[tokio::test]
async fn services_that_go_away_and_come_back_are_survived() {
    let (mut postgres, mut rabbitmq, mut redis) =
        tokio::join!(OwnServer::start("postgres"), OwnServer::start("rabbitmq"), OwnServer::start("redis"));
    let services = [postgres.url(), rabbitmq.url(), redis.url()];
    // No role waits for Redis at the start.
    redis.kill();
    let fleet = Fleet::start(FleetSetup {
        services,
        accounts: 1,
        coordinators: 1,
        routers: 1,
        ..FleetSetup::default()
    });
    let fleet = fleet.await;
    await_status(&fleet, Member::Account(0), "degraded").await;
    let (id, key) = fleet.create(0).await;
    fleet.sign(0, &id, &key, [1; 32]).await;
    redis.go().await;
    await_status(&fleet, Member::Account(0), "ok").await;
    redis.kill();
    fleet.sign(0, &id, &key, [1; 32]).await;
    await_status(&fleet, Member::Account(0), "degraded").await;
    redis.go().await;
    let account = Account { id, key, user: None };

    refresh_without(&fleet, &account, &mut rabbitmq, "a refresh without RabbitMQ").await;
    let refused = fleet.caller(0).sign(&account.id, [2; 32]).await;
    assert_try_again(&refused, "RabbitMQ");
    assert_eq!(health(&fleet, Member::Party(0)).await.status, 503);
    rabbitmq.go().await;
    signs_again(&fleet, &account, "RabbitMQ").await;

    refresh_without(&fleet, &account, &mut postgres, "a refresh without PostgreSQL").await;
    let refused = fleet.caller(0).sign(&account.id, [3; 32]).await;
    assert_try_again(&refused, "PostgreSQL");
    postgres.go().await;
    signs_again(&fleet, &account, "PostgreSQL").await;
    await_status(&fleet, Member::Account(0), "ok").await;
}

/// Starts a process that can't start, and gives what it says and how it logged its tries.
async fn refused(fleet: &Fleet, member: Member, settings: &[(&str, &str)]) -> String {
    let mut command = tokio::process::Command::from(fleet.command(member));
    command.env("QUORATE_CONNECT_TRIES", "3").env("QUORATE_CONNECT_BASE_MS", "20");
    let child = command.envs(settings.iter().copied()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
    let output = output.expect("the process does not end").unwrap();
    assert!(!output.status.success(), "{member:?} started with {settings:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn what_can_not_start_says_why_and_ends() {
    let setup = FleetSetup { accounts: 1, coordinators: 1, routers: 1, parties: 2, ..FleetSetup::default() };
    let mut fleet = Fleet::prepare(setup).await;
    let nobody = "postgres://user:hush@127.0.0.1:1/none";
    let said = refused(&fleet, Member::Coordinator(0), &[("POSTGRES_URL", nobody)]).await;
    assert!(said.contains("PostgreSQL at 127.0.0.1:1/none can't be used"), "{said}");
    assert!(said.contains("attempt=3 of=3") && !said.contains("hush"), "{said}");
    let said = refused(&fleet, Member::Router(0), &[("RABBITMQ_URL", "amqp://user:hush@127.0.0.1:1")]).await;
    assert!(said.contains("RabbitMQ at 127.0.0.1:1") && !said.contains("hush"), "{said}");
    let other_seed = "ab".repeat(32);
    for (member, settings, reason) in [
        (Member::Coordinator(0), vec![("QUORATE_COORDINATOR_LISTN", "x")], "QUORATE_COORDINATOR_LISTN"),
        (Member::Coordinator(0), vec![("JWT_SECRET_KEY", "hush")], "JWT_SECRET_KEY: give 32"),
        (
            Member::Coordinator(0),
            vec![("JWT_SECRET_KEY", "")],
            "JWT_SECRET_KEY is not set: coordinator needs it",
        ),
        (Member::Party(0), vec![("CRYPTO_MASTER_KEY", "hush")], "CRYPTO_MASTER_KEY: give 64"),
        (Member::Party(0), vec![("QUORATE_IDENTITY_KEY", &other_seed)], "is not in QUORATE_PARTY_KEYS"),
        (Member::Party(0), vec![("QUORATE_PLUGIN_FILES", "/nowhere.wasm")], "/nowhere.wasm"),
        (
            Member::Account(0),
            vec![("MPC_API_KEY_SHA256", "")],
            "MPC_API_KEY_SHA256 is not set: account needs it",
        ),
        (
            Member::Account(0),
            vec![("MPC_OPERATOR_API_KEY", "a key of this test")],
            "MPC_OPERATOR_API_KEY is set, and no role may hold an API key",
        ),
        (
            Member::Account(0),
            vec![("TLS_CERT_FILE", "/x"), ("TLS_KEY_FILE", "/y")],
            "QUORATE_COORDINATORS: give addresses that begin with https://",
        ),
        (
            Member::Account(0),
            vec![
                ("TLS_CERT_FILE", "/x"),
                ("TLS_KEY_FILE", "/y"),
                ("QUORATE_COORDINATORS", "https://a:1"),
                ("QUORATE_ROUTERS", ""),
            ],
            "/y",
        ),
    ] {
        let said = refused(&fleet, member, &settings).await;
        assert!(said.contains(reason), "{settings:?}: {said}");
        assert!(!said.contains("hush"), "a secret was shown: {said}");
    }
    // A database that another key has sealed, and one of a newer version.
    fleet.restart(Member::Party(0)).await;
    fleet.kill(Member::Party(0));
    let other: String = "cd".repeat(32);
    let public = SecretKey::from_seed(&[0xcd; 32]).public().to_string();
    let said = refused(&fleet, Member::Party(0), &[("CRYPTO_MASTER_KEY", &other)]).await;
    assert!(said.contains("is not the one that sealed this database"), "{said}");
    fleet.restart(Member::Account(0)).await;
    fleet.kill(Member::Account(0));
    let said = refused(&fleet, Member::Account(0), &[("QUORATE_ACCOUNT_ROW_KEYS", &other)]).await;
    assert!(said.contains("none of the row keys (QUORATE_ACCOUNT_ROW_KEYS)"), "{said}");
    let another = [("QUORATE_IDENTITY_KEY", other.as_str()), ("QUORATE_PARTY_KEYS", public.as_str())];
    let said = refused(&fleet, Member::Party(0), &another).await;
    assert!(said.contains("of a party with another identity"), "{said}");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'from the future', TRUE, 'x', 0)";
    sqlx::query(newer).execute(&mut fleet.database(DatabaseOf::Party(0)).await).await.unwrap();
    let said = refused(&fleet, Member::Party(0), &[]).await;
    assert!(said.contains("is of a newer version of Quorate, whose migration 9999"), "{said}");
}
