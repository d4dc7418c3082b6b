//! Accounts of which a user keeps a share: made, confirmed, signed with and refreshed through real processes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use quorate_core::AccountId;
use quorate_core::codec::Bytes;
use quorate_core::order::{HashFunction, SignItem};
use quorate_core::sealed_box::RecipientKey;
use quorate_core::sealing_key::SealingKey;
use quorate_core::share_grant::{GrantHeader, Purpose, ShareGrant};
use quorate_core::user_share::UserShare;
use quorate_net::clock::{Clock, SystemClock};
use quorate_party::api::SealingKeyView;
use quorate_tests::embedded::{Caller, Reply, SHARES_KEY, send};
use quorate_tests::fleet::{DatabaseOf, Fleet, FleetSetup, Member};
use quorate_tests::single_process::program;
use reqwest::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use quorate_tests::verification::assert_signed_by;

const ACCOUNTS: &str = "/api/v1/accounts";

/// A user with a folder for keys and shares, who works with `quorate share`.
struct User {
    folder: tempfile::TempDir,
    recipient: String,
    claim_hash: String,
}

impl User {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let recipient = quorate(&["share", "new-recipient", "recipient"], folder.path(), "").unwrap();
        let claim_hash = quorate(&["share", "new-claim", "claim"], folder.path(), "").unwrap();
        Self { folder, recipient, claim_hash }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Opens a share into a file of this name.
    fn open(&self, sealed: &str, name: &str) -> String {
        quorate(&["share", "open", "--key", "recipient", "--out", name], self.folder.path(), sealed).unwrap()
    }

    fn claim(&self) -> String {
        std::fs::read_to_string(self.file("claim")).unwrap().trim().to_owned()
    }

    fn seal(&self, share: &str, to: &SealTo, account: &str, purpose: &[&str]) -> Result<String, String> {
        std::fs::write(self.file("to"), &to.answer).unwrap();
        let common = ["share", "seal", "--share", share, "--to", "to", "--party", &to.party];
        let account = ["--account", account];
        quorate(&[&common[..], &account, purpose].concat(), self.folder.path(), "")
    }

    fn share(&self, name: &str) -> UserShare {
        let text = std::fs::read_to_string(self.file(name)).unwrap();
        UserShare::read(Zeroizing::new(hex::decode(text.trim()).unwrap())).unwrap()
    }
}

fn quorate(arguments: &[&str], folder: &Path, input: &str) -> Result<String, String> {
    use std::io::Write;
    let mut command = Command::new(program());
    command.args(arguments).current_dir(folder).env_clear();
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn party_api(fleet: &Fleet, replica: usize) -> Caller {
    Caller::new(fleet.address(Member::PartyApi(replica))).with_key(SHARES_KEY)
}

/// The answer of the party API with its sealing key, and the identity that must have signed it.
#[derive(Clone)]
struct SealTo {
    answer: String,
    party: String,
}

impl SealTo {
    fn key(&self) -> SealingKey {
        let view: SealingKeyView = serde_json::from_str(&self.answer).unwrap();
        view.signed_key().unwrap().key
    }
}

async fn published_key(fleet: &Fleet) -> SealTo {
    let reply = party_api(fleet, 0).get("/api/v1/shares/key").await.good();
    SealTo { answer: reply.body.to_string(), party: fleet.user_party_key().to_owned() }
}

async fn confirm(fleet: &Fleet, replica: usize, session: &str, claim: &str) -> Reply {
    let body = json!({ "session_id": session, "claim": claim });
    party_api(fleet, replica).post("/api/v1/shares/confirm", &body).await
}

async fn generate(fleet: &Fleet, replica: usize, body: Value) -> Reply {
    party_api(fleet, replica).post("/api/v1/shares/generate", &body).await
}

async fn sign(fleet: &Fleet, account: &str, digest: [u8; 32], user_share: Option<&str>) -> Reply {
    let mut body = json!({ "message": hex::encode(digest) });
    if let Some(user_share) = user_share {
        body["user_share"] = user_share.into();
    }
    fleet.caller(0).post(&format!("{ACCOUNTS}/{account}/sign"), &body).await
}

fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.text("code")), (status, code), "{reply:?}");
}

async fn state(fleet: &Fleet, account: &str) -> Reply {
    fleet.caller(1).get(&format!("{ACCOUNTS}/{account}")).await.good()
}

fn with_user(party_apis: usize) -> FleetSetup {
    FleetSetup { party_apis, coordinators: 1, routers: 1, ..FleetSetup::default() }
}

#[tokio::test]
async fn a_user_makes_an_account_signs_and_refreshes() {
    let fleet = Fleet::start(with_user(2)).await;
    let (user, to) = (User::new(), published_key(&fleet).await);
    let body = json!({
        "user_id": "user123",
        "user_share": true,
        "recipient_key": user.recipient,
        "claim_hash": user.claim_hash,
    });
    let ask = async |account: usize| {
        let request = fleet.caller(account).request(Method::POST, ACCOUNTS);
        send(request.header("Idempotency-Key", "one").json(&body)).await.good()
    };
    let made = ask(0).await;
    assert_eq!((made.status, made.text("state")), (201, "pending"), "{made:?}");
    assert_eq!((&made.body["public_key"], &made.body["ethereum_address"]), (&Value::Null, &Value::Null));
    let (id, session) = (made.text("id"), made.text("session_id"));
    // A repeated request gets the same bytes, and the store of answers does not contain them.
    let again = ask(1).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.body, made.body);
    let mut accounts = fleet.database(DatabaseOf::Account).await;
    let kept: Vec<String> = sqlx::query_scalar("SELECT answer FROM idempotency WHERE answer IS NOT NULL")
        .fetch_all(&mut accounts)
        .await
        .unwrap();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].contains(session) && !kept[0].contains("user_share\""), "{kept:?}");
    refused(&sign(&fleet, id, [1; 32], None).await, 409, "account_not_active");
    assert_eq!(state(&fleet, id).await.text("state"), "pending");
    // The share that is in good hands, at another replica than the one that made it.
    let said = user.open(made.text("user_share"), "share");
    assert_eq!(said, format!("account {id}, epoch 1, party 3"));
    refused(&confirm(&fleet, 1, session, &User::new().claim()).await, 403, "wrong_claim");
    let unclaimed = json!({ "session_id": session });
    let unclaimed = party_api(&fleet, 1).post("/api/v1/shares/confirm", &unclaimed).await;
    refused(&unclaimed, 422, "claim_required");
    let _ = confirm(&fleet, 1, session, &user.claim()).await.good();
    refused(&confirm(&fleet, 0, session, &user.claim()).await, 409, "share_already_confirmed");
    refused(&confirm(&fleet, 0, session, &User::new().claim()).await, 403, "wrong_claim");
    let account = state(&fleet, id).await;
    assert_eq!((account.text("state"), &account.body["epoch"]), ("active", &json!(1)), "{account:?}");
    let key = hex::decode(account.text("public_key")).unwrap();
    assert_eq!(ask(0).await.body["user_share"], Value::Null, "a confirmed share was given out again");

    let seal = |digest: [u8; 32], share: &str| {
        user.seal(share, &to, id, &["--message", &hex::encode(digest)]).unwrap()
    };
    for round in 0..3 {
        let digest = [10 + round; 32];
        let signed = sign(&fleet, id, digest, Some(&seal(digest, "share"))).await;
        assert_eq!(signed.status, 200, "{signed:?}");
        assert_signed_by(&signed, digest, &key);
        let signers: Vec<u64> = serde_json::from_value(signed.body["signers"].clone()).unwrap();
        assert!(signers.len() == 2 && signers.contains(&3), "{signers:?}");
    }
    let without = sign(&fleet, id, [20; 32], None).await;
    assert_signed_by(&without, [20; 32], &key);
    assert_eq!(without.body["signers"], json!([1, 2]));

    // Everything that is not this user's word for this message.
    let other = sign(&fleet, id, [31; 32], Some(&seal([30; 32], "share"))).await;
    refused(&other, 422, "user_share_for_another_message");
    let sealed = seal([32; 32], "share");
    let _ = sign(&fleet, id, [32; 32], Some(&sealed)).await.good();
    refused(&sign(&fleet, id, [32; 32], Some(&sealed)).await, 409, "user_share_replayed");
    let mut changed = hex::decode(&sealed).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    let changed = sign(&fleet, id, [32; 32], Some(&hex::encode(changed))).await;
    refused(&changed, 422, "user_share_unreadable");
    refused(&sign(&fleet, id, [32; 32], Some("no hex")).await, 422, "user_share_unreadable");
    forged_requests_are_refused(&fleet, &user, &to).await;
    let path = format!("{ACCOUNTS}/{id}/sign");
    let body = json!({ "message": "11".repeat(32), "signers": [1, 3] });
    refused(&fleet.caller(0).post(&path, &body).await, 422, "invalid_signers");

    // New shares: the old one is good until the new one is in good hands.
    let path = format!("{ACCOUNTS}/{id}/refresh");
    refused(&fleet.caller(0).post(&path, &json!({})).await, 422, "user_share_required");
    let next = User::new();
    let given = user
        .seal("share", &to, id, &["--refresh", &next.recipient, "--claim-hash", &next.claim_hash])
        .unwrap();
    let unclaimed = json!({ "user_share": given, "recipient_key": next.recipient });
    refused(&fleet.caller(0).post(&path, &unclaimed).await, 422, "claim_required");
    let elsewhere =
        json!({ "user_share": given, "recipient_key": user.recipient, "claim_hash": next.claim_hash });
    refused(&fleet.caller(0).post(&path, &elsewhere).await, 422, "user_share_for_another_message");
    let claimed =
        json!({ "user_share": given, "recipient_key": next.recipient, "claim_hash": user.claim_hash });
    refused(&fleet.caller(0).post(&path, &claimed).await, 422, "user_share_for_another_message");
    let reused =
        user.seal("share", &to, id, &["--refresh", &next.recipient, "--claim-hash", &user.claim_hash]);
    let reused = json!({ "user_share": reused.unwrap(), "recipient_key": next.recipient, "claim_hash": user.claim_hash });
    refused(&fleet.caller(0).post(&path, &reused).await, 409, "claim_used");
    let body = json!({ "user_share": given, "recipient_key": next.recipient, "claim_hash": next.claim_hash });
    let refreshed = fleet.caller(0).post(&path, &body).await.good();
    assert_eq!((refreshed.text("state"), &refreshed.body["epoch"]), ("active", &json!(1)), "{refreshed:?}");
    let _ = sign(&fleet, id, [40; 32], Some(&seal([40; 32], "share"))).await.good();
    next.open(refreshed.text("user_share"), "share");
    refused(&confirm(&fleet, 0, refreshed.text("session_id"), &user.claim()).await, 403, "wrong_claim");
    let _ = confirm(&fleet, 0, refreshed.text("session_id"), &next.claim()).await.good();
    assert_eq!(state(&fleet, id).await.body["epoch"], json!(2));
    let old = sign(&fleet, id, [41; 32], Some(&seal([41; 32], "share"))).await;
    refused(&old, 409, "user_share_of_another_epoch");
    let new = next.seal("share", &to, id, &["--message", &hex::encode([42; 32])]).unwrap();
    let signed = sign(&fleet, id, [42; 32], Some(&new)).await;
    assert_signed_by(&signed, [42; 32], &key);

    // The users' party keeps no share: neither as it is nor sealed.
    let mut database = fleet.database(DatabaseOf::UserParty).await;
    let kept: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM deliveries WHERE sealed IS NOT NULL")
        .fetch_one(&mut database)
        .await
        .unwrap();
    let longest: i32 =
        sqlx::query_scalar("SELECT MAX(LENGTH(sealed)) FROM entries").fetch_one(&mut database).await.unwrap();
    assert_eq!(kept, 0);
    assert!(longest < 100, "{longest} bytes are more than a hash");
}

/// Requests that the command line would not make: they are over, of other accounts, or with a share that was changed.
async fn forged_requests_are_refused(fleet: &Fleet, user: &User, to: &SealTo) {
    let share = user.share("share");
    let share_id = share.id().unwrap();
    let now = SystemClock.seconds();
    let signing = SignItem {
        message: Bytes(vec![50; 32]),
        hash: HashFunction::None,
        path: vec![],
        merkle_root: None,
        presignatures: false,
    };
    let header = |nonce: u8| GrantHeader {
        nonce: [nonce; 32],
        expires_at: now + Duration::from_secs(60),
        account: share_id.account,
        epoch: 1,
        purpose: Purpose::Sign(signing.clone().into()),
    };
    let mut entries = share.entries().unwrap();
    let entry = entries.values_mut().next().unwrap();
    entry[0] ^= 1;
    let changed = UserShare::new(&share_id, &entries);
    let (account, codes) = (AccountId([1; 16]), ["expired", "of_another_account", "of_another_epoch"]);
    for (header, share, code) in [
        (GrantHeader { expires_at: now - Duration::from_secs(1), ..header(1) }, &share, codes[0]),
        (GrantHeader { expires_at: now + Duration::from_secs(100_000), ..header(2) }, &share, codes[0]),
        (GrantHeader { account, ..header(3) }, &share, codes[1]),
        (header(4), &changed, codes[1]),
        (GrantHeader { epoch: 2, ..header(5) }, &share, codes[2]),
    ] {
        let sealed = ShareGrant { header, share: share.clone() }.seal(&to.key(), &[9; 32]).unwrap();
        let reply = sign(fleet, &share_id.account.to_string(), [50; 32], Some(&hex::encode(sealed))).await;
        assert_eq!(reply.text("code"), format!("user_share_{code}"), "{reply:?}");
    }
}

#[tokio::test]
async fn a_share_that_is_mandatory_is_asked_for_in_a_call_of_its_own() {
    let mut fleet = Fleet::start(with_user(1)).await;
    let user = User::new();
    let mut body = json!({ "user_id": "user123", "user_share": true, "user_share_mandatory": true });
    refused(&fleet.caller(0).post(ACCOUNTS, &body).await, 422, "claim_required");
    body["claim_hash"] = "short".into();
    refused(&fleet.caller(0).post(ACCOUNTS, &body).await, 422, "invalid_claim");
    body["claim_hash"] = user.claim_hash.clone().into();
    let made = fleet.caller(0).post(ACCOUNTS, &body).await.good();
    assert_eq!((made.text("state"), &made.body["user_share"]), ("pending", &Value::Null), "{made:?}");
    let (id, session) = (made.text("id"), made.text("session_id"));
    let claim = user.claim();
    let unsealed = json!({ "session_id": session, "claim": claim });
    refused(&generate(&fleet, 0, unsealed).await, 422, "recipient_key_required");
    let unclaimed = json!({ "session_id": session, "recipient_key": user.recipient });
    refused(&generate(&fleet, 0, unclaimed).await, 422, "claim_required");
    let malformed = json!({ "session_id": session, "claim": "short", "recipient_key": user.recipient });
    refused(&generate(&fleet, 0, malformed).await, 422, "invalid_claim");
    let stranger = User::new();
    let stolen =
        json!({ "session_id": session, "claim": stranger.claim(), "recipient_key": stranger.recipient });
    refused(&generate(&fleet, 0, stolen.clone()).await, 403, "wrong_claim");
    let weak = json!({ "session_id": session, "claim": claim, "recipient_key": "00".repeat(32) });
    refused(&generate(&fleet, 0, weak).await, 422, "invalid_recipient_key");
    let unknown = json!({ "session_id": "00".repeat(32), "claim": claim, "recipient_key": user.recipient });
    refused(&generate(&fleet, 0, unknown).await, 404, "session_not_found");
    let asked = json!({ "session_id": session, "claim": claim, "recipient_key": user.recipient });
    // One who asks again while the session runs gets the same share.
    let again = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        generate(&fleet, 0, asked.clone()).await
    };
    let (first, second, third) =
        tokio::join!(generate(&fleet, 0, asked.clone()), generate(&fleet, 0, asked.clone()), again);
    assert_eq!([first.status, second.status, third.status], [200; 3], "{:?}", first.body["code"]);
    assert!(first.body == second.body && first.body == third.body, "three answers differ");
    let other = json!({ "session_id": session, "claim": claim, "recipient_key": User::new().recipient });
    refused(&generate(&fleet, 0, other).await, 409, "recipient_differs");
    refused(&generate(&fleet, 0, stolen.clone()).await, 403, "wrong_claim");
    // Neither the share nor the account is lost with the process.
    fleet.restart(Member::PartyApi(0)).await;
    assert_eq!(generate(&fleet, 0, asked.clone()).await.body, first.body);
    user.open(first.text("user_share"), "share");
    let say = async || {
        let request = party_api(&fleet, 0).request(Method::POST, "/api/v1/shares/confirm");
        let body = json!({ "session_id": session, "claim": claim });
        send(request.header("Idempotency-Key", "one").json(&body)).await.good()
    };
    let confirmed = say().await;
    assert_eq!((confirmed.text("account_id"), confirmed.text("state")), (id, "active"));
    assert_eq!(say().await.body, confirmed.body);
    refused(&generate(&fleet, 0, asked).await, 409, "share_already_delivered");
    refused(&generate(&fleet, 0, stolen).await, 403, "wrong_claim");
    let account = state(&fleet, id).await;
    assert_eq!((account.text("state"), &account.body["user_share_mandatory"]), ("active", &json!(true)));
    let key = hex::decode(account.text("public_key")).unwrap();
    refused(&sign(&fleet, id, [1; 32], None).await, 422, "user_share_required");
    let to = published_key(&fleet).await;
    let sealed = user.seal("share", &to, id, &["--message", &hex::encode([2; 32])]).unwrap();
    let signed = sign(&fleet, id, [2; 32], Some(&sealed)).await;
    assert_signed_by(&signed, [2; 32], &key);
    // A claim that has served for one share is none to another.
    body["user_share_mandatory"] = false.into();
    refused(&fleet.caller(0).post(ACCOUNTS, &body).await, 409, "claim_used");
    let another = fleet.caller(0).create().await;
    refused(&sign(&fleet, &another, [3; 32], Some(&sealed)).await, 422, "no_user_share");
    let wrong = user.seal("share", &to, &another, &["--message", &hex::encode([3; 32])]).unwrap_err();
    assert!(wrong.contains("another account"), "{wrong}");
}

#[tokio::test]
async fn a_share_that_is_not_sealed_is_given_out_once_and_one_that_nobody_confirms_expires() {
    let mut setup = with_user(1);
    setup.settings.push(("USER_SHARE_PLAINTEXT".into(), "true".into()));
    setup.settings.push(("QUORATE_CONFIRM_SECONDS".into(), "3".into()));
    let fleet = Fleet::start(setup).await;
    let user = User::new();
    let new_account =
        |user: &User| json!({ "user_id": "user123", "user_share": true, "claim_hash": user.claim_hash });
    let made = fleet.caller(0).post(ACCOUNTS, &new_account(&user)).await.good();
    let (id, session) = (made.text("id"), made.text("session_id"));
    let asked = json!({ "session_id": session, "claim": user.claim() });
    let stolen = json!({ "session_id": session, "claim": User::new().claim() });
    refused(&generate(&fleet, 0, stolen).await, 403, "wrong_claim");
    let given = generate(&fleet, 0, asked.clone()).await.good();
    let share = Zeroizing::new(hex::decode(given.text("user_share")).unwrap());
    let share_id = UserShare::read(share).unwrap().id().unwrap();
    assert_eq!((share_id.epoch, share_id.party.number()), (1, 3));
    let again = generate(&fleet, 0, asked).await;
    refused(&again, 409, "share_already_delivered");
    let mut waited = 0;
    while state(&fleet, id).await.text("state") != "failed" {
        assert!(waited < 200, "an account that nobody confirms stays: {:?}", state(&fleet, id).await);
        waited += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    refused(&confirm(&fleet, 0, session, &user.claim()).await, 409, "share_expired");
    refused(&sign(&fleet, id, [1; 32], None).await, 409, "account_not_active");
    // One that is confirmed in time stays.
    let user = User::new();
    let made = fleet.caller(0).post(ACCOUNTS, &new_account(&user)).await.good();
    let session = made.text("session_id");
    let _ = generate(&fleet, 0, json!({ "session_id": session, "claim": user.claim() })).await.good();
    let _ = confirm(&fleet, 0, session, &user.claim()).await.good();
    assert_eq!(state(&fleet, made.text("id")).await.text("state"), "active");
    let body = json!({ "user_id": "u", "recipient_key": "00".repeat(32) });
    refused(&fleet.caller(0).post(ACCOUNTS, &body).await, 422, "invalid_recipient_key");
    let key = hex::encode(RecipientKey::derive(&[1; 32]).public());
    let body = json!({ "user_id": "u", "recipient_key": key });
    refused(&fleet.caller(0).post(ACCOUNTS, &body).await, 422, "invalid_body");
}

#[tokio::test]
async fn a_party_api_that_dies_in_the_middle_loses_nothing() {
    let mut fleet = Fleet::start(with_user(1)).await;
    let (user, to) = (User::new(), published_key(&fleet).await);
    let member = Member::PartyApi(0);
    let body = json!({
        "user_id": "user123",
        "user_share": true,
        "recipient_key": user.recipient,
        "claim_hash": user.claim_hash,
    });
    let request = |fleet: &Fleet| {
        let request = fleet.caller(0).request(Method::POST, ACCOUNTS);
        request.header("Idempotency-Key", "one").json(&body)
    };
    // In the middle of the key generation, as far as one can tell from outside.
    let interrupted = tokio::spawn(send(request(&fleet)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    fleet.restart(member).await;
    let first = interrupted.await.unwrap();
    assert!(first.status == 201 || first.status >= 500 || first.status == 409, "{first:?}");
    let mut made = first;
    for _ in 0..20 {
        if made.status == 201 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        made = send(request(&fleet)).await;
    }
    let made = made.good();
    let id = made.text("id");
    user.open(made.text("user_share"), "share");
    let _ = confirm(&fleet, 0, made.text("session_id"), &user.claim()).await.good();
    let key = hex::decode(state(&fleet, id).await.text("public_key")).unwrap();
    let mut accounts = fleet.database(DatabaseOf::Account).await;
    let active: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM accounts WHERE state = 'active'")
        .fetch_one(&mut accounts)
        .await
        .unwrap();
    assert_eq!(active, 1);

    // In the middle of a signing.
    let seal = |digest: [u8; 32]| user.seal("share", &to, id, &["--message", &hex::encode(digest)]).unwrap();
    let (caller, path) = (fleet.caller(0), format!("{ACCOUNTS}/{id}/sign"));
    let body = json!({ "message": hex::encode([1; 32]), "user_share": seal([1; 32]) });
    let interrupted = tokio::spawn(async move { caller.post(&path, &body).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    fleet.restart(member).await;
    let reply = interrupted.await.unwrap();
    match reply.status {
        200 => assert_signed_by(&reply, [1; 32], &key),
        _ => assert!(
            ["deadline_passed", "unavailable", "parties_unavailable"].contains(&reply.text("code")),
            "{reply:?}"
        ),
    }
    let mut signed = sign(&fleet, id, [2; 32], Some(&seal([2; 32]))).await;
    // The coordinator may not have heard of it again yet.
    for _ in 0..3 {
        if signed.status != 200 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            signed = sign(&fleet, id, [2; 32], Some(&seal([2; 32]))).await;
        }
    }
    assert_eq!(signed.status, 200, "{signed:?}");
    assert_signed_by(&signed, [2; 32], &key);
}

/// An account whose user holds the confirmed share in the file `share`.
async fn account_of(fleet: &Fleet, user: &User) -> String {
    let body = json!({
        "user_id": "user123",
        "user_share": true,
        "recipient_key": user.recipient,
        "claim_hash": user.claim_hash,
    });
    let made = fleet.caller(0).post(ACCOUNTS, &body).await.good();
    user.open(made.text("user_share"), "share");
    let _ = confirm(fleet, 0, made.text("session_id"), &user.claim()).await.good();
    made.text("id").to_owned()
}

#[tokio::test]
async fn what_is_sealed_to_a_key_opens_while_the_key_serves() {
    let mut setup = with_user(2);
    setup.settings.push(("QUORATE_SEALING_KEY_SECONDS".into(), "4".into()));
    let fleet = Fleet::start(setup).await;
    let user = User::new();
    let account = account_of(&fleet, &user).await;
    let id = account.as_str();
    let to = published_key(&fleet).await;
    let seal = |to: &SealTo, digest: [u8; 32]| {
        user.seal("share", to, id, &["--message", &hex::encode(digest), "--good-for", "100"])
    };
    // Both replicas have it, whichever has made it.
    for digest in [[1; 32], [2; 32]] {
        let _ = sign(&fleet, id, digest, Some(&seal(&to, digest).unwrap())).await.good();
    }
    // Neither of another party nor of another time.
    let other = SealTo { party: fleet.party_keys()[0].clone(), ..to.clone() };
    let refused_key = seal(&other, [3; 32]).unwrap_err();
    assert!(refused_key.contains("not signed by this party"), "{refused_key}");
    let sealed = seal(&to, [4; 32]).unwrap();
    while published_key(&fleet).await.answer == to.answer {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    while SystemClock.seconds() < to.key().not_after {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let late = seal(&to, [5; 32]).unwrap_err();
    assert!(late.contains("fetch the current one"), "{late}");
    refused(&sign(&fleet, id, [4; 32], Some(&sealed)).await, 422, "sealing_key_expired");
    let next = published_key(&fleet).await;
    let _ = sign(&fleet, id, [6; 32], Some(&seal(&next, [6; 32]).unwrap())).await.good();
}

/// Stops the processes of the parties where they are, or lets them go on.
fn signal_parties(fleet: &Fleet, signal: &str) {
    for party in 0..2 {
        let pid = fleet.pid(Member::Party(party)).to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

/// A sealed share serves for one order with all its sessions, and a request is the same with its share sealed anew.
#[tokio::test]
async fn a_request_that_failed_is_repeated_with_the_same_share_or_with_one_that_is_sealed_anew() {
    let mut setup = FleetSetup { parties: 2, ..with_user(1) };
    // Time for two sessions of the three that an order may have.
    setup.settings.push(("QUORATE_SIGN_TIMEOUT_MS".into(), "2000".into()));
    let fleet = Fleet::start(setup).await;
    let user = User::new();
    let account = account_of(&fleet, &user).await;
    let id = account.as_str();
    let key = hex::decode(state(&fleet, id).await.text("public_key")).unwrap();
    let to = published_key(&fleet).await;
    let seal = || user.seal("share", &to, id, &["--message", &hex::encode([1; 32])]).unwrap();
    let ask = async |name: &str, sealed: &str| {
        let request = fleet.caller(0).request(Method::POST, &format!("{ACCOUNTS}/{id}/sign"));
        let body = json!({ "message": hex::encode([1; 32]), "user_share": sealed });
        send(request.header("Idempotency-Key", name).json(&body)).await
    };
    let sealed = seal();
    signal_parties(&fleet, "-STOP");
    let failed = ask("one", &sealed).await;
    signal_parties(&fleet, "-CONT");
    assert_eq!(failed.status / 100, 5, "{failed:?}");
    assert!(failed.body["session_id"].is_string(), "no session was made: {failed:?}");
    let signed = ask("one", &sealed).await;
    assert_eq!(signed.status, 200, "{signed:?}");
    assert_signed_by(&signed, [1; 32], &key);
    // Sealed anew it is the same request, and has its answer.
    let again = ask("one", &seal()).await.good();
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.body, signed.body);
    // For another order it is of no use.
    refused(&ask("two", &sealed).await, 409, "user_share_replayed");
    let _ = ask("two", &seal()).await.good();
}
