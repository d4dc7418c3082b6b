//! All roles as processes of their own, on real services.

use quorate_tests::embedded::{Caller, OPERATOR_KEY, send};
use quorate_tests::fleet::{DatabaseOf, Fleet, FleetSetup, Member};
use reqwest::Method;
use serde_json::json;

use quorate_tests::verification::assert_signed_by;

#[tokio::test]
async fn an_account_is_made_signs_and_is_refreshed_by_separate_processes() {
    let mut fleet = Fleet::start(FleetSetup::default()).await;
    let (id, key) = fleet.create(0).await;
    for round in 0..6 {
        // What one account service has made, the other can use.
        fleet.sign(round % 2, &id, &key, [u8::try_from(round).unwrap(); 32]).await;
    }
    let refreshed = fleet.caller(1).post(&format!("/api/v1/accounts/{id}/refresh"), &json!({})).await;
    assert_eq!((refreshed.status, &refreshed.body["epoch"]), (200, &json!(2)), "{refreshed:?}");
    fleet.sign(0, &id, &key, [9; 32]).await;
    let report = fleet.healthcheck(Member::Party(0), "party").unwrap();
    assert!(report.starts_with(r#"{"status":"ok","role":"party""#), "{report}");
    // Everything but what is in the databases is gone.
    for member in fleet.members() {
        fleet.kill(member);
    }
    assert!(fleet.healthcheck(Member::Party(0), "party").is_err());
    let fleet = fleet.go().await;
    fleet.sign(1, &id, &key, [10; 32]).await;
    let party = fleet.caller(0).get(&format!("/api/v1/accounts/{id}")).await;
    assert_eq!(party.body["epoch"], json!(2));
    assert!(fleet.logged(Member::Party(0)).contains("party ready"));
}

#[tokio::test]
async fn replicas_of_one_party_share_its_queue_and_its_database() {
    let mut fleet =
        Fleet::start(FleetSetup { accounts: 1, coordinators: 1, routers: 1, ..FleetSetup::default() }).await;
    let (id, key) = fleet.create(0).await;
    // Another process of party 1, under a name of its own.
    let mut second = fleet.command(Member::Party(0));
    second.env("QUORATE_REPLICA", "another").env("QUORATE_DATA", fleet.folder().join("another"));
    let listen = quorate_tests::single_process::free_address().to_string();
    let mut second =
        second.env("QUORATE_PARTY_LISTEN", &listen).stderr(std::process::Stdio::null()).spawn().unwrap();
    let health = Caller::new(listen.parse().unwrap());
    while health.bare(Method::GET, "/health").send().await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let path = format!("/api/v1/accounts/{id}/sign");
    let sign = async |fleet: &Fleet, digest: [u8; 32]| {
        let body = json!({ "message": hex::encode(digest), "signers": [1, 2] });
        let signed = fleet.caller(0).post(&path, &body).await;
        assert_eq!(signed.status, 200, "{signed:?}");
        assert_signed_by(&signed, digest, &key);
    };
    for round in 0..6 {
        sign(&fleet, [round; 32]).await;
    }
    // With one of them gone the other does all.
    fleet.kill(Member::Party(0));
    for round in 6..9 {
        sign(&fleet, [round; 32]).await;
    }
    let mut database = fleet.database(DatabaseOf::Party(0)).await;
    let by = "SELECT DISTINCT replica FROM sessions ORDER BY replica";
    let replicas: Vec<String> = sqlx::query_scalar(by).fetch_all(&mut database).await.unwrap();
    assert_eq!(replicas, ["another", "replica-0"]);
    second.kill().unwrap();
    second.wait().unwrap();
}

#[tokio::test]
async fn one_request_at_two_account_services_makes_one_account() {
    let fleet = Fleet::start(FleetSetup::default()).await;
    let body = json!({ "user_id": "twice" });
    let ask = |account: usize| {
        let caller = fleet.caller(account);
        let request = caller.request(Method::POST, "/api/v1/accounts").header("Idempotency-Key", "one key");
        send(request.json(&body))
    };
    let answers = futures::future::join_all([0, 1, 0, 1].map(ask)).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (201, &answers[0].body), "{answer:?}");
    }
    for (database, count) in [
        (DatabaseOf::Account, "SELECT COUNT(*) FROM accounts"),
        (DatabaseOf::Coordinator, "SELECT COUNT(*) FROM sessions"),
    ] {
        let mut database = fleet.database(database).await;
        let count: i64 = sqlx::query_scalar(count).fetch_one(&mut database).await.unwrap();
        assert_eq!(count, 1);
    }
}

#[tokio::test]
async fn signatures_go_on_while_an_account_is_refreshed() {
    let fleet = Fleet::start(FleetSetup::default()).await;
    let (id, key) = fleet.create(0).await;
    let path = format!("/api/v1/accounts/{id}/refresh");
    let refreshing = async {
        for epoch in 2..4 {
            let refreshed = fleet.caller(1).post(&path, &json!({})).await;
            assert_eq!((refreshed.status, &refreshed.body["epoch"]), (200, &json!(epoch)), "{refreshed:?}");
        }
        true
    };
    let over = std::cell::Cell::new(false);
    let signing = async |first: u8| {
        let mut signed = 0;
        while !over.get() {
            fleet.sign(usize::from(first) % 2, &id, &key, [first + signed; 32]).await;
            signed = (signed + 1) % 100;
        }
    };
    tokio::join!(async { over.set(refreshing.await) }, signing(0), signing(100));
}

#[tokio::test]
async fn a_coordinator_tells_operators_of_sessions_and_parties_and_nobody_else() {
    let allowed = (Member::Coordinator(0), "ALLOWED_IPS".into(), "10.0.0.0/8".into());
    let setup = FleetSetup { parties: 2, own_settings: vec![allowed], ..FleetSetup::default() };
    let fleet = Fleet::start(setup).await;
    let made = fleet.caller(0).post("/api/v1/accounts", &json!({ "user_id": "user123" })).await.good();
    let mut database = fleet.database(DatabaseOf::Coordinator).await;
    let session: Vec<u8> =
        sqlx::query_scalar("SELECT id FROM sessions").fetch_one(&mut database).await.unwrap();
    let path = format!("/api/v1/sessions/{}", hex::encode(session));
    let [barred, open] =
        [0, 1].map(|index| Caller::new(fleet.address(Member::Coordinator(index))).with_key(OPERATOR_KEY));
    let told = open.get(&path).await.good();
    assert_eq!((told.text("status"), told.text("account_id")), ("completed", made.text("id")), "{told:?}");
    // One report that proves the result is enough to be kept.
    assert!(told.body["signers"] == json!([1, 2]) && told.body["reports"].as_u64() >= Some(1), "{told:?}");
    let parties = open.get("/api/v1/parties").await.good();
    let mut identities = fleet.party_keys();
    identities.sort();
    let told: Vec<&str> =
        parties.body.as_array().unwrap().iter().map(|p| p["identity"].as_str().unwrap()).collect();
    assert_eq!(told, identities);
    assert_eq!(parties.body[0]["plugins"][0]["protocol"], json!("dkls23"), "{parties:?}");
    for (request, code) in [
        (open.bare(Method::GET, &path), "unauthorized"),
        (open.bare(Method::GET, &path).header("X-API-Key", "another key of some length"), "unauthorized"),
        (barred.request(Method::GET, &path), "address_not_allowed"),
        (open.request(Method::GET, &format!("/api/v1/sessions/{}", "00".repeat(32))), "session_not_found"),
        (open.request(Method::GET, "/api/v1/sessions/none"), "invalid_id"),
    ] {
        assert_eq!(send(request).await.text("code"), code);
    }
}

#[tokio::test]
async fn a_database_is_brought_up_to_date_by_a_command_too() {
    let fleet = Fleet::prepare(FleetSetup { parties: 2, ..FleetSetup::default() }).await;
    for (database, which, table) in [
        (DatabaseOf::Account, "account", "accounts"),
        (DatabaseOf::Coordinator, "coordinator", "sessions"),
        (DatabaseOf::Party(0), "party", "shares"),
    ] {
        let migrate = || {
            let mut command = std::process::Command::new(quorate_tests::single_process::program());
            command.env_clear().env("POSTGRES_URL", fleet.database_url(database)).args(["migrate", which]);
            // Of a party's database only: one that another has sealed is left alone.
            command.env("QUORATE_IDENTITY_KEY", "ab".repeat(32)).env("CRYPTO_MASTER_KEY", "cd".repeat(32));
            command.output().unwrap()
        };
        for _ in 0..2 {
            let migrated = migrate();
            assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        }
        let there: Option<String> = sqlx::query_scalar("SELECT to_regclass($1)::text")
            .bind(table)
            .fetch_one(&mut fleet.database(database).await)
            .await
            .unwrap();
        assert_eq!(there.as_deref(), Some(table));
    }
}
