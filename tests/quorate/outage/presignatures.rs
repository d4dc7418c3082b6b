//! Presignatures when processes are killed: what a process has made is lost with it, and signing goes on.

use std::time::Duration;

use ed25519_dalek::{Signature, VerifyingKey};
use quorate_tests::components;
use quorate_tests::fleet::{DatabaseOf, Fleet, FleetSetup, Member};
use serde_json::json;

/// How long parties may take to make presignatures.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it takes until the coordinator knows of what parties have made.
const REPORTING: Duration = Duration::from_millis(500);

struct Signing {
    fleet: Fleet,
    path: String,
    key: VerifyingKey,
    /// Which message is next: none is signed twice.
    number: u64,
}

impl Signing {
    async fn start() -> Self {
        let settings = [("QUORATE_PRESIGNATURES_LOW", "4"), ("QUORATE_PRESIGNATURES_HIGH", "10")];
        let fleet = Fleet::start(FleetSetup {
            parties: 2,
            plugins: vec![components::folder().join("frost-ed25519.wasm")],
            settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..FleetSetup::default()
        })
        .await;
        let body = json!({ "user_id": "user123", "scheme": "ed25519", "threshold": { "t": 2, "n": 2 } });
        let account = fleet.caller(0).post("/api/v1/accounts", &body).await.good();
        let key: [u8; 32] = hex::decode(account.text("public_key")).unwrap().try_into().unwrap();
        let path = format!("/api/v1/accounts/{}/sign", account.text("id"));
        Self { fleet, path, key: VerifyingKey::from_bytes(&key).unwrap(), number: 0 }
    }

    async fn sign(&mut self) {
        self.number += 1;
        let message = self.number.to_be_bytes();
        let caller = self.fleet.caller(usize::from(self.number.is_multiple_of(2)));
        let signed = caller.post(&self.path, &json!({ "message": hex::encode(message) })).await.good();
        let signature = Signature::from_slice(&hex::decode(signed.text("signature")).unwrap()).unwrap();
        self.key.verify_strict(&message, &signature).unwrap();
    }

    /// How many presignatures of its own process a party holds.
    async fn held(&self, party: usize) -> i64 {
        let mut database = self.fleet.database(DatabaseOf::Party(party)).await;
        let newest =
            "SELECT count(*) FROM pool WHERE pool = (SELECT pool FROM pool ORDER BY made_at DESC LIMIT 1)";
        sqlx::query_scalar(newest).fetch_one(&mut database).await.unwrap()
    }

    async fn wait_for(&self, wanted: [i64; 2]) {
        let filled = async {
            while [self.held(0).await, self.held(1).await] != wanted {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, filled).await;
        tokio::time::sleep(REPORTING).await;
        assert!(waited.is_ok(), "{} and {} instead of {wanted:?}", self.held(0).await, self.held(1).await);
    }

    async fn failed_sessions(&self) -> i64 {
        let mut database = self.fleet.database(DatabaseOf::Coordinator).await;
        let failed = "SELECT count(*) FROM sessions WHERE status = 'failed'";
        sqlx::query_scalar(failed).fetch_one(&mut database).await.unwrap()
    }
}

#[tokio::test]
async fn signing_goes_on_when_a_process_that_held_presignatures_is_killed() {
    let mut signing = Signing::start().await;
    signing.sign().await;
    signing.wait_for([10, 10]).await;
    signing.sign().await;
    signing.wait_for([9, 9]).await;

    // The party's new process has none, and the coordinator knows it before it makes a plan.
    signing.fleet.kill(Member::Party(0));
    signing.fleet.restart(Member::Party(0)).await;
    signing.sign().await;
    assert_eq!(signing.failed_sessions().await, 0, "a plan named presignatures that were gone");
    // What the other party has made with the first process is of no use.
    signing.wait_for([10, 19]).await;
    signing.sign().await;
    signing.wait_for([9, 18]).await;

    // A coordinator forgets what it knew: more are made.
    for coordinator in 0..2 {
        signing.fleet.kill(Member::Coordinator(coordinator));
        signing.fleet.restart(Member::Coordinator(coordinator)).await;
    }
    signing.sign().await;
    signing.wait_for([19, 28]).await;
    signing.sign().await;
    signing.wait_for([18, 27]).await;
}
