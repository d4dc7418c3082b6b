//! All roles as processes of their own, on real services.

use quorate_tests::deployment::Reply;
use quorate_tests::fleet::{Fleet, FleetSetup, Member};
use serde_json::json;

use crate::api::assert_signs;

/// Creates an account and gives its id and public key.
pub(crate) async fn create(fleet: &Fleet, account: usize) -> (String, Vec<u8>) {
    let made = fleet.caller(account).post("/api/v1/accounts", &json!({ "user_id": "user123" })).await;
    assert_eq!(made.status, 201, "{made:?}");
    let key = hex::decode(made.text("public_key")).unwrap();
    (made.text("id").to_owned(), key)
}

/// Verifies an answer to a sign request with another implementation.
pub(crate) fn assert_signed_by(signed: &Reply, digest: [u8; 32], key: &[u8]) {
    assert_signs(signed, digest);
    assert_eq!(signed.text("public_key"), hex::encode(key));
}

/// Signs, and verifies with another implementation.
pub(crate) async fn sign(fleet: &Fleet, account: usize, id: &str, key: &[u8], digest: [u8; 32]) {
    let signed = fleet.caller(account).sign(id, digest).await;
    assert_eq!(signed.status, 200, "{signed:?}");
    assert_signed_by(&signed, digest, key);
}

#[tokio::test]
async fn an_account_is_made_signs_and_is_refreshed_by_separate_processes() {
    let mut fleet = Fleet::start(FleetSetup::default()).await;
    let (id, key) = create(&fleet, 0).await;
    for round in 0..6 {
        // What one account service has made, the other can use.
        sign(&fleet, round % 2, &id, &key, [u8::try_from(round).unwrap(); 32]).await;
    }
    let refreshed = fleet.caller(1).post(&format!("/api/v1/accounts/{id}/refresh"), &json!({})).await;
    assert_eq!((refreshed.status, &refreshed.body["epoch"]), (200, &json!(2)), "{refreshed:?}");
    sign(&fleet, 0, &id, &key, [9; 32]).await;
    // Everything but what is in the databases is gone.
    for member in fleet.members() {
        fleet.kill(member);
    }
    let fleet = fleet.go().await;
    sign(&fleet, 1, &id, &key, [10; 32]).await;
    let party = fleet.caller(0).get(&format!("/api/v1/accounts/{id}")).await;
    assert_eq!(party.body["epoch"], json!(2));
    assert!(fleet.logged(Member::Party(0)).contains("the party is there"));
}

#[tokio::test]
async fn replicas_of_one_party_share_its_queue_and_its_database() {
    let mut fleet =
        Fleet::start(FleetSetup { accounts: 1, coordinators: 1, routers: 1, ..FleetSetup::default() }).await;
    let (id, key) = create(&fleet, 0).await;
    // Another process of party 1, under a name of its own.
    let mut second = fleet.command(Member::Party(0));
    second.env("QUORATE_REPLICA", "another").env("QUORATE_DATA", fleet.folder().join("another"));
    let listen = quorate_tests::server::free_address().to_string();
    let mut second =
        second.env("QUORATE_PARTY_LISTEN", &listen).stderr(std::process::Stdio::null()).spawn().unwrap();
    let health = quorate_tests::deployment::Caller::new(listen.parse().unwrap());
    while health.bare(reqwest::Method::GET, "/health").send().await.is_err() {
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
    let mut database = fleet.databases.connect(1).await;
    let by = "SELECT DISTINCT replica FROM sessions ORDER BY replica";
    let replicas: Vec<String> = sqlx::query_scalar(by).fetch_all(&mut database).await.unwrap();
    assert_eq!(replicas, ["another", "replica-0"]);
    second.kill().unwrap();
    second.wait().unwrap();
}
