//! Accounts that sign get presignatures ahead of time: their next signatures take one round, and every presignature is used once.

use std::path::PathBuf;
use std::time::Duration;

use ed25519_dalek::{Signature, VerifyingKey};
use quorate::config::LimitsConfig;
use quorate_account::PresignatureMarks;
use quorate_tests::embedded::{Caller, Deployment, Reply};
use serde_json::json;

/// How long parties may take to make presignatures.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it takes until the coordinator knows of what parties have made.
const REPORTING: Duration = Duration::from_millis(500);

async fn start(presignatures: PresignatureMarks) -> Deployment {
    let limits = LimitsConfig { presignatures, ..LimitsConfig::default() };
    Deployment::start_components(3, limits, &["dkls23", "frost-ed25519"]).await
}

/// How many presignatures each party holds, without what an earlier process has left.
async fn held(deployment: &Deployment) -> Vec<i64> {
    let mut all = Vec::new();
    for party in 1..=3 {
        let file: PathBuf = deployment.folder().join(format!("party-{party}.db"));
        let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", file.display())).await.unwrap();
        let newest =
            "SELECT count(*) FROM pool WHERE pool = (SELECT pool FROM pool ORDER BY made_at DESC LIMIT 1)";
        all.push(sqlx::query_scalar(newest).fetch_one(&pool).await.unwrap());
        pool.close().await;
    }
    all
}

/// Waits until two parties hold so many presignatures, and gives these parties.
async fn wait_for(deployment: &Deployment, count: i64) -> Vec<usize> {
    let filled = async {
        loop {
            let all = held(deployment).await;
            let holding: Vec<usize> = (0..3).filter(|party| all[*party] == count).collect();
            if holding.len() == 2 {
                tokio::time::sleep(REPORTING).await;
                return holding;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, filled).await;
    let Ok(holding) = waited else { panic!("{:?} instead of {count}", held(deployment).await) };
    holding
}

fn assert_signed(signed: &Reply, message: &[u8], account: &Reply) {
    let bytes = |text: &str| hex::decode(text).unwrap();
    let key = VerifyingKey::from_bytes(bytes(account.text("public_key")).as_slice().try_into().unwrap());
    let signature = Signature::from_slice(&bytes(signed.text("signature"))).unwrap();
    key.unwrap().verify_strict(message, &signature).unwrap();
}

async fn sign(caller: &Caller, account: &Reply, message: &[u8]) -> Reply {
    let path = format!("/api/v1/accounts/{}/sign", account.text("id"));
    let signed = caller.post(&path, &json!({ "message": hex::encode(message) })).await.good();
    assert_signed(&signed, message, account);
    signed
}

#[tokio::test]
async fn an_account_that_signs_gets_presignatures_and_uses_each_once() {
    let mut deployment = start(PresignatureMarks { low: 4, high: 10 }).await;
    let caller = deployment.caller().clone();
    let body = json!({ "user_id": "user123", "scheme": "ed25519" });
    let account = caller.post("/api/v1/accounts", &body).await.good();
    sign(&caller, &account, b"finds no presignature").await;
    let holders = wait_for(&deployment, 10).await;

    for number in 0..4_u8 {
        let signed = sign(&caller, &account, &[number]).await;
        let signers: Vec<usize> = holders.iter().map(|party| party + 1).collect();
        assert_eq!(signed.body["signers"], json!(signers), "whoever holds presignatures signs");
    }
    wait_for(&deployment, 6).await;
    // A batch takes one for each item. It finds as many as it needs, and leaves fewer than the low mark.
    let messages: Vec<[u8; 1]> = (10..14).map(|number| [number]).collect();
    let items: Vec<_> = messages.iter().map(|message| json!({ "message": hex::encode(message) })).collect();
    let path = format!("/api/v1/accounts/{}/sign", account.text("id"));
    let batch = caller.post(&path, &json!({ "items": items })).await.good();
    for (number, message) in messages.iter().enumerate() {
        assert_signed(&batch.item(number), message, &account);
    }
    wait_for(&deployment, 10).await;

    // More items than there are presignatures: without them.
    let items = vec![json!({ "message": "00" }); 11];
    assert_eq!(caller.post(&path, &json!({ "items": items })).await.status, 200);
    assert_eq!(wait_for(&deployment, 10).await, holders);

    // New shares: the presignatures of the old ones are gone, and signing goes on.
    let refreshed = caller.post(&path.replace("sign", "refresh"), &json!({})).await;
    assert_eq!(refreshed.status, 200, "{}", refreshed.body);
    assert_eq!(held(&deployment).await, [0, 0, 0]);
    sign(&caller, &account, b"after the refresh").await;
    wait_for(&deployment, 10).await;

    // New processes have no use for what earlier ones have left.
    deployment.restart().await;
    let caller = deployment.caller().clone();
    sign(&caller, &account, b"after the restart").await;
    wait_for(&deployment, 10).await;
    sign(&caller, &account, b"and once more").await;
    wait_for(&deployment, 9).await;
}

#[tokio::test]
async fn no_presignatures_are_made_where_they_are_switched_off_or_of_no_use() {
    let deployment = start(PresignatureMarks { low: 4, high: 0 }).await;
    let caller = deployment.caller().clone();
    for scheme in ["ed25519", "ecdsa-secp256k1"] {
        let body = json!({ "user_id": "user123", "scheme": scheme });
        let account = caller.post("/api/v1/accounts", &body).await.good();
        let message = json!({ "message": "ab".repeat(32) });
        let signed = caller.post(&format!("/api/v1/accounts/{}/sign", account.text("id")), &message).await;
        assert_eq!(signed.status, 200, "{}", signed.body);
    }
    assert_eq!(held(&deployment).await, [0, 0, 0]);
    drop(deployment);

    let deployment = start(PresignatureMarks { low: 4, high: 10 }).await;
    let caller = deployment.caller().clone();
    let account = caller.create().await;
    // A known message: ECDSA would allow it, and DKLs23 makes none.
    let message = json!({ "message": "ab", "hash": "sha256" });
    for _ in 0..2 {
        let signed = caller.post(&format!("/api/v1/accounts/{account}/sign"), &message).await;
        assert_eq!(signed.status, 200, "{}", signed.body);
    }
    assert_eq!(held(&deployment).await, [0, 0, 0]);
}
