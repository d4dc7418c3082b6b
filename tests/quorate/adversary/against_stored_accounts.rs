//! Another user of the account service's database: what it writes is not believed.

use quorate_account::{ItemText, RequestIds, SignRequest};
use quorate_backends::database::sql;
use quorate_control_store::{Account, AccountState};
use quorate_core::code::Code;
use quorate_core::codec::encode;
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_core::{AccountId, KeySpec, PartyIndex, UnixMillis};
use quorate_kit::random32;
use quorate_tests::embedded::{Deployment, send};
use reqwest::Method;
use serde_json::json;

use super::against_account_service::{ACCOUNT, World, certified, publics, spec, world, world_with_former};

fn strangers() -> Vec<SecretKey> {
    (0..2).map(|_| SecretKey::from_seed(&random32())).collect()
}

/// Parties that are pinned, in another order.
fn reversed(parties: &[SecretKey]) -> Vec<PublicKey> {
    publics(parties).into_iter().rev().collect()
}

/// Neither shown nor signed with.
async fn assert_not_believed(world: &World, case: &str) {
    let read = world.service.account(ACCOUNT).await;
    assert_eq!(read.unwrap_err().code, Code::Internal, "{case}");
    let request = SignRequest::read(&ItemText::digest("07".repeat(32)), None).unwrap();
    let signed = world.service.sign(RequestIds::for_account(ACCOUNT).unwrap(), request).await;
    assert_eq!(signed.unwrap_err().code, Code::Internal, "{case}");
}

#[tokio::test]
async fn another_key_is_not_shown_as_the_accounts() {
    let keys = strangers();
    let (of_strangers, strangers_key) = certified(&keys, 1);
    for case in [
        "the key alone",
        "the certificate alone",
        "both, in perfect order",
        "both, of the account's own parties, whose identities were stolen",
    ] {
        let world = world().await;
        let shown = world.service.account(ACCOUNT).await.unwrap();
        let (stolen, stolen_key) = certified(&world.parties, 1);
        let (certificate, key) = match case {
            "the key alone" => (None, Some(&strangers_key)),
            "the certificate alone" => (Some(&of_strangers), None),
            "both, in perfect order" => (Some(&of_strangers), Some(&strangers_key)),
            _ => (Some(&stolen), Some(&stolen_key)),
        };
        if let Some(certificate) = certificate {
            let statement = sql("UPDATE accounts SET certificate = $1").bind(encode(certificate));
            statement.execute(&world.database).await.unwrap();
        }
        if let Some(key) = key {
            let statement = sql("UPDATE accounts SET outputs = $1").bind(encode(key));
            statement.execute(&world.database).await.unwrap();
        }
        assert_not_believed(&world, case).await;
        assert!(shown.key.is_some(), "{case}");
    }
}

#[tokio::test]
async fn what_never_changes_in_an_account_is_not_changed_by_others() {
    for (statement, value) in [
        ("UPDATE accounts SET scheme = 'bip340'", None),
        ("UPDATE accounts SET scheme = 'ed25519'", None),
        ("UPDATE accounts SET protocol = 'another'", None),
        ("UPDATE accounts SET user_party = 2", None),
        ("UPDATE accounts SET mandatory = $1", Some(encode(&vec![PartyIndex::FIRST]))),
    ] {
        let world = world().await;
        let mut statement_to_run = sql(statement);
        if let Some(value) = value {
            statement_to_run = statement_to_run.bind(value);
        }
        statement_to_run.execute(&world.database).await.unwrap();
        assert_not_believed(&world, statement).await;
    }
    let world = world().await;
    let parties = encode(&reversed(&world.parties));
    sql("UPDATE accounts SET parties = $1").bind(parties).execute(&world.database).await.unwrap();
    assert_not_believed(&world, "parties in another order").await;
}

/// An account whose key is not made yet: no certificate proves its parties.
#[tokio::test]
async fn parties_are_not_exchanged_before_the_keygen() {
    let world = world().await;
    let id = AccountId([8; 16]);
    let creating = Account {
        spec: KeySpec { account: id, ..spec(&world.parties) },
        user_id: "user123".into(),
        state: AccountState::Creating,
        user_party: None,
        claim_hash: None,
        open: vec![],
        created: UnixMillis(0),
    };
    world.store.create_account(&creating).await.unwrap();
    let statement = sql("UPDATE accounts SET parties = $1 WHERE id = $2");
    let statement = statement.bind(encode(&reversed(&world.parties))).bind(id.as_bytes());
    statement.execute(&world.database).await.unwrap();
    assert_eq!(world.service.account(id).await.unwrap_err().code, Code::Internal);
}

/// A row that an account service has written, which pinned other parties.
#[tokio::test]
async fn parties_that_nobody_has_pinned_are_refused_and_former_ones_only_read() {
    let keys = strangers();
    for (former, read, signed) in [
        (vec![], Some(Code::Misconfigured), Code::Misconfigured),
        (publics(&keys), None, Code::Misconfigured),
    ] {
        let world = world_with_former(former).await;
        sql("DELETE FROM accounts").execute(&world.database).await.unwrap();
        let account = Account {
            spec: spec(&keys),
            user_id: "user123".into(),
            state: AccountState::Creating,
            user_party: None,
            claim_hash: None,
            open: vec![],
            created: UnixMillis(0),
        };
        world.store.create_account(&account).await.unwrap();
        let (certificate, key) = certified(&keys, 1);
        world.store.activate_account(&account.spec, &certificate, &key).await.unwrap();
        assert_eq!(world.service.account(ACCOUNT).await.err().map(|problem| problem.code), read);
        let request = SignRequest::read(&ItemText::digest("07".repeat(32)), None).unwrap();
        let problem =
            world.service.sign(RequestIds::for_account(ACCOUNT).unwrap(), request).await.unwrap_err();
        assert_eq!(problem.code, signed, "{problem}");
    }
}

#[tokio::test]
async fn an_invented_answer_is_given_to_nobody() {
    let mut deployment = Deployment::start(2).await;
    let create = async |deployment: &Deployment| {
        let request = deployment.caller().request(Method::POST, "/api/v1/accounts");
        send(request.header("idempotency-key", "k").json(&json!({ "user_id": "user123" }))).await
    };
    let made = create(&deployment).await.good();
    let file = deployment.folder().join("account.db");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let invented = made.body.to_string().replace(made.text("ethereum_address"), "0x00");
    let changed =
        sqlx::query("UPDATE idempotency SET answer = $1").bind(invented).execute(&pool).await.unwrap();
    assert_eq!(changed.rows_affected(), 1);
    pool.close().await;
    // A process remembers its answers for a while; the next one asks the database.
    deployment.restart().await;
    let again = create(&deployment).await;
    assert_eq!((again.status, again.text("code")), (500, "internal"), "{again:?}");
}
