//! The API of an embedded deployment: accounts, signatures, sessions, and what bad input gets.

use std::time::Duration;

use quorate::config::{LimitsConfig, RatesConfig};
use quorate::roles::embedded::{Embedded, EmbeddedSetup};
use quorate_core::code::Code;
use quorate_party::Party;
use quorate_tests::components;
use quorate_tests::embedded::{Deployment, KEY, Reply, send};
use quorate_tests::verification::assert_signs;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Row;

/// How many rows a table has.
async fn rows(deployment: &Deployment, table: &'static str) -> i64 {
    let (file, query) = match table {
        "sessions" => ("coordinator.db", "SELECT count(*) FROM sessions"),
        "accounts" => ("account.db", "SELECT count(*) FROM accounts"),
        other => panic!("no table {other}"),
    };
    let file = deployment.folder().join(file);
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    sqlx::query(query).fetch_one(&pool).await.unwrap().get(0)
}

#[tokio::test]
async fn an_account_signs_digests_and_messages_under_its_key_and_its_children() {
    let deployment = Deployment::start(3).await;
    let caller = deployment.caller();
    let id = caller.create().await;
    let account = caller.get(&format!("/api/v1/accounts/{id}")).await.good();
    assert_eq!(account.body["threshold"], json!({ "t": 2, "n": 3 }));
    assert_eq!((account.text("state"), account.body["epoch"].as_u64()), ("active", Some(1)));
    let path = format!("/api/v1/accounts/{id}/sign");

    let plain = caller.sign(&id, [7; 32]).await.good();
    assert_signs(&plain, [7; 32]);
    assert_eq!(plain.text("public_key"), account.text("public_key"));

    let hashed = caller.post(&path, &json!({ "message": "68656c6c6f", "hash": "sha256" })).await.good();
    let digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_signs(&hashed, hex::decode(digest).unwrap().try_into().unwrap());

    // A child key, derived here by rust-bitcoin from what the account's answer shows.
    let child = json!({ "message": "07".repeat(32), "path": "m/44/60/0" });
    let child = caller.post(&path, &child).await.good();
    assert_signs(&child, [7; 32]);
    assert_eq!(child.text("public_key"), derived(&account, &[44, 60, 0]));

    let chosen = json!({ "message": "07".repeat(32), "signers": [2, 3] });
    assert_eq!(caller.post(&path, &chosen).await.good().body["signers"], json!([2, 3]));

    let session = caller.get(&format!("/api/v1/sessions/{}", plain.text("session_id"))).await.good();
    assert_eq!((session.text("status"), session.text("operation")), ("completed", "sign"));
    assert_eq!(session.item(0).text("signature"), plain.text("signature"));
}

#[tokio::test]
async fn several_items_are_signed_in_their_order_by_one_session_or_none_is() {
    let deployment = Deployment::start(3).await;
    let caller = deployment.caller();
    let id = caller.create().await;
    let account = caller.get(&format!("/api/v1/accounts/{id}")).await.good();
    let path = format!("/api/v1/accounts/{id}/sign");
    let before = rows(&deployment, "sessions").await;

    let body = json!({ "items": [
        { "message": "07".repeat(32) },
        { "message": "68656c6c6f", "hash": "sha256" },
        { "message": "07".repeat(32), "path": "m/44/60/0" },
        { "message": "07".repeat(32) },
    ] });
    let asked = || caller.request(Method::POST, &path).header("idempotency-key", "batch").json(&body);
    let signed = send(asked()).await.good();
    assert_eq!(signed.body["signatures"].as_array().unwrap().len(), 4);
    let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let hello = hex::decode(hello).unwrap().try_into().unwrap();
    for (number, digest) in [[7; 32], hello, [7; 32], [7; 32]].into_iter().enumerate() {
        assert_signs(&signed.item(number), digest);
    }
    let key = account.text("public_key");
    for (number, key) in [key, key, &derived(&account, &[44, 60, 0]), key].into_iter().enumerate() {
        assert_eq!(signed.item(number).text("public_key"), key, "item {number}");
    }
    assert_ne!(signed.item(0).text("r"), signed.item(3).text("r"), "two equal items have one nonce");
    assert!(signed.body.get("signature").is_none());
    assert_eq!(rows(&deployment, "sessions").await, before + 1);
    assert_eq!(send(asked()).await.good().body, signed.body, "the same request has the same answer");

    let session = caller.get(&format!("/api/v1/sessions/{}", signed.text("session_id"))).await.good();
    assert_eq!(session.body["signatures"], signed.body["signatures"]);

    // One item that can't be signed, and nothing is.
    let bad = json!({ "items": [{ "message": "07".repeat(32) }, { "message": "07" }] });
    let refused = caller.post(&path, &bad).await;
    assert_problem(&refused, 422, "invalid_message", "a short digest");
    assert!(refused.text("detail").starts_with("items[1]."), "{}", refused.body);
    assert_eq!(rows(&deployment, "sessions").await, before + 1);
}

#[tokio::test]
async fn the_largest_batch_is_signed() {
    let deployment = Deployment::start(3).await;
    let caller = deployment.caller();
    let id = caller.create().await;
    let items: Vec<_> = (0..64).map(|byte| json!({ "message": hex::encode([byte; 32]) })).collect();
    let path = format!("/api/v1/accounts/{id}/sign");
    let signed = caller.post(&path, &json!({ "items": items })).await.good();
    for byte in 0..64 {
        assert_signs(&signed.item(byte.into()), [byte; 32]);
    }
}

fn derived(account: &Reply, path: &[u32]) -> String {
    use bitcoin::bip32::{ChainCode, ChildNumber, Fingerprint, Xpub};
    let code: [u8; 32] = hex::decode(account.text("chain_code")).unwrap().try_into().unwrap();
    let root = Xpub {
        network: bitcoin::NetworkKind::Main,
        depth: 0,
        parent_fingerprint: Fingerprint::default(),
        child_number: ChildNumber::Normal { index: 0 },
        public_key: account.text("public_key").parse().unwrap(),
        chain_code: ChainCode::from(code),
    };
    let path: Vec<ChildNumber> = path.iter().map(|&n| ChildNumber::from_normal_idx(n).unwrap()).collect();
    let secp = bitcoin::secp256k1::Secp256k1::verification_only();
    root.derive_pub(&secp, &path).unwrap().public_key.to_string()
}

/// One way to ask wrongly, and what it gets.
struct Bad {
    path: String,
    body: String,
    status: u16,
    code: &'static str,
}

fn bad(path: &str, body: &str, status: u16, code: &'static str) -> Bad {
    Bad { path: path.into(), body: body.into(), status, code }
}

fn assert_problem(reply: &Reply, status: u16, code: &str, what: &str) {
    assert_eq!((reply.status, reply.text("code")), (status, code), "{what}: {}", reply.body);
    assert_eq!(reply.headers["content-type"], "application/problem+json", "{what}");
    assert_eq!(reply.body["status"].as_u64(), Some(u64::from(status)), "{what}");
    assert!(reply.text("detail").len() > 10, "{what}: it says not what to do");
}

#[tokio::test]
async fn bad_input_gets_a_code_and_a_sentence_and_starts_no_session() {
    let deployment = Deployment::start(3).await;
    let caller = deployment.caller();
    let id = caller.create().await;
    let before = rows(&deployment, "sessions").await;
    let accounts = "/api/v1/accounts";
    let sign = format!("{accounts}/{id}/sign");
    let nobody = format!("{accounts}/00000000-0000-4000-8000-000000000000");
    const DIGEST: &str = r#"{"message":"0707070707070707070707070707070707070707070707070707070707070707"}"#;
    const HARDENED: &str =
        r#"{"message":"0707070707070707070707070707070707070707070707070707070707070707","path":"m/44'/0"}"#;
    const SIGNERS: &str =
        r#"{"message":"0707070707070707070707070707070707070707070707070707070707070707","signers":[1]}"#;
    let too_many = json!({ "items": vec![json!({ "message": "07".repeat(32) }); 65] }).to_string();
    for Bad { path, body, status, code } in [
        bad(accounts, "{", 400, "malformed_json"),
        bad(accounts, "[1", 400, "malformed_json"),
        bad(accounts, "{}", 422, "invalid_body"),
        bad(accounts, r#"["user123"]"#, 422, "invalid_body"),
        bad(accounts, r#"{"user_id":"u","surprise":1}"#, 422, "invalid_body"),
        bad(accounts, r#"{"user_id":7}"#, 422, "invalid_body"),
        bad(accounts, r#"{"user_id":"u","threshold":"2-of-3"}"#, 422, "invalid_body"),
        bad(accounts, r#"{"user_id":""}"#, 422, "invalid_user_id"),
        bad(accounts, r#"{"user_id":"u","scheme":"rsa"}"#, 422, "unknown_scheme"),
        bad(accounts, r#"{"user_id":"u","protocol":"gg18"}"#, 422, "unknown_protocol"),
        bad(accounts, r#"{"user_id":"u","threshold":{"t":1,"n":3}}"#, 422, "invalid_threshold"),
        bad(accounts, r#"{"user_id":"u","threshold":{"t":4,"n":3}}"#, 422, "invalid_threshold"),
        bad(accounts, r#"{"user_id":"u","threshold":{"t":2,"n":17}}"#, 422, "invalid_threshold"),
        bad(accounts, r#"{"user_id":"u","threshold":{"t":2,"n":4}}"#, 422, "invalid_threshold"),
        bad(&sign, r#"{"message":"zz"}"#, 422, "invalid_message"),
        bad(&sign, r#"{"message":"0707"}"#, 422, "invalid_message"),
        bad(&sign, r#"{"message":"0707","hash":"md5"}"#, 422, "unknown_hash"),
        bad(&sign, HARDENED, 422, "invalid_path"),
        bad(&sign, SIGNERS, 422, "invalid_signers"),
        bad(&sign, "{}", 422, "invalid_body"),
        bad(&sign, r#"{"items":[]}"#, 422, "invalid_items"),
        bad(&sign, &too_many, 422, "invalid_items"),
        bad(&sign, r#"{"items":[{"message":"0707"}]}"#, 422, "invalid_message"),
        bad(&sign, r#"{"items":[{"message":"07","hash":"sha256"}],"hash":"sha256"}"#, 422, "invalid_body"),
        bad(&sign, r#"{"items":[{"message":"07","hash":"sha256"}],"message":"07"}"#, 422, "invalid_body"),
        bad(&sign, r#"{"items":[{"message":"07","hash":"sha256","tweak":"07"}]}"#, 422, "invalid_body"),
        bad(&format!("{nobody}/sign"), DIGEST, 404, "account_not_found"),
        bad(&format!("{nobody}/refresh"), "{}", 404, "account_not_found"),
        bad(&format!("{accounts}/7/sign"), DIGEST, 422, "invalid_id"),
        bad("/api/v1/nothing", "{}", 404, "not_found"),
        bad(&format!("{accounts}/{id}"), "{}", 405, "method_not_allowed"),
    ] {
        let request = caller.request(Method::POST, &path).header("content-type", "application/json");
        assert_problem(&send(request.body(body.clone())).await, status, code, &body);
    }

    let json_as_text = caller.request(Method::POST, accounts).body(r#"{"user_id":"u"}"#);
    assert_problem(&send(json_as_text).await, 415, "unsupported_media_type", "no content type");
    let large = caller.post(accounts, &json!({ "user_id": "u".repeat(70_000) })).await;
    assert_problem(&large, 413, "body_too_large", "a body over 64 KiB");
    let missing = send(caller.bare(Method::GET, &format!("{accounts}/{id}"))).await;
    assert_problem(&missing, 401, "unauthorized", "no key");
    let wrong = caller.bare(Method::GET, &format!("{accounts}/{id}")).header("X-API-Key", "wrong");
    assert_problem(&send(wrong).await, 401, "unauthorized", "a wrong key");
    let unknown = caller.get(&format!("/api/v1/sessions/{}", "00".repeat(32))).await;
    assert_problem(&unknown, 404, "session_not_found", "an unknown session");
    for key in ["", &"k".repeat(256)] {
        let request = caller.request(Method::POST, accounts).header("idempotency-key", key);
        let reply = send(request.json(&json!({ "user_id": "u" }))).await;
        assert_problem(&reply, 422, "invalid_idempotency_key", "an idempotency key that is none");
    }

    assert_eq!(rows(&deployment, "sessions").await, before, "a session was created");
    assert_eq!(rows(&deployment, "accounts").await, 1, "an account was created");
    // The next good request works.
    assert_signs(&caller.sign(&id, [9; 32]).await.good(), [9; 32]);
}

/// An API on the data of a deployment that was stopped.
async fn api(deployment: &mut Deployment, allowed: &str, rates: RatesConfig) -> Embedded {
    deployment.stop().await;
    let embedded = Embedded::start(EmbeddedSetup {
        plugin_policy: quorate::config::PluginsConfig::default(),
        data: deployment.folder(),
        parties: 2,
        listen: (std::net::Ipv4Addr::LOCALHOST, 0).into(),
        keys: quorate_net::web::guard::ApiKeyHashes::of_keys([KEY]).unwrap(),
        allowed: allowed.parse().unwrap(),
        proxies: quorate_net::web::guard::AllowedAddresses::default(),
        rates,
        limits: LimitsConfig::default(),
        plugins: vec![],
    });
    embedded.await.unwrap()
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_refused_before_its_key_is_looked_at() {
    let mut deployment = Deployment::start(2).await;
    let embedded = api(&mut deployment, "10.0.0.0/8", RatesConfig::default()).await;
    let caller = quorate_tests::embedded::Caller::new(embedded.address());
    for request in [caller.request(Method::GET, "/api/v1/sessions/x"), caller.bare(Method::GET, "/api/v1/x")]
    {
        assert_problem(&send(request).await, 403, "address_not_allowed", "a forbidden address");
    }
    assert_eq!(send(caller.bare(Method::GET, "/health")).await.status, 200);
    embedded.stop().await;
}

#[tokio::test]
async fn who_tries_keys_is_stopped_before_the_right_one_is_found() {
    let mut deployment = Deployment::start(2).await;
    let embedded = api(&mut deployment, "", RatesConfig { failed_keys: 2, ..RatesConfig::default() }).await;
    let caller = quorate_tests::embedded::Caller::new(embedded.address());
    let path = "/api/v1/accounts/00000000-0000-4000-8000-000000000000";
    for guess in ["a guess of a key", "another guess of a key"] {
        let tried = send(caller.bare(Method::GET, path).header("x-api-key", guess)).await;
        assert_problem(&tried, 401, "unauthorized", guess);
    }
    let right = send(caller.bare(Method::GET, path).header("x-api-key", KEY)).await;
    assert_problem(&right, 429, "too_many_failed_keys", "the right key");
    let after: u64 = right.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=61).contains(&after), "{after}");
    assert_eq!(send(caller.bare(Method::GET, "/health")).await.status, 200);
    embedded.stop().await;
}

#[tokio::test]
async fn requests_of_a_key_and_of_an_account_have_a_rate_that_headers_tell() {
    let mut deployment = Deployment::start(2).await;
    let rates = RatesConfig { per_key: 4, per_account: 1, ..RatesConfig::default() };
    let embedded = api(&mut deployment, "", rates).await;
    let caller = quorate_tests::embedded::Caller::new(embedded.address());
    // The minute may end in between.
    let minute = || quorate_net::clock::Clock::seconds(&quorate_net::clock::SystemClock).0 / 60;
    loop {
        let began = minute();
        let unknown = "/api/v1/accounts/00000000-0000-4000-8000-000000000000";
        let read = caller.get(unknown).await;
        let (path, body) = (format!("{unknown}/sign"), json!({ "message": "07".repeat(32) }));
        let sign = || caller.post(&path, &body);
        let (first, second) = (sign().await, sign().await);
        let (fourth, fifth) = (caller.get(unknown).await, caller.get(unknown).await);
        if minute() != began {
            continue;
        }
        let told = |reply: &Reply, name: &str| {
            let lines = reply.headers.get_all(name).iter().map(|line| line.to_str().unwrap().to_owned());
            lines.collect::<Vec<_>>().join(", ")
        };
        assert_problem(&read, 404, "account_not_found", "a request within the rates");
        assert_eq!(told(&read, "ratelimit-policy"), "\"key\";q=4;w=60");
        assert!(told(&read, "ratelimit").starts_with("\"key\";r=3;t="));
        assert_problem(&first, 404, "account_not_found", "the first signature of the account");
        assert!(told(&first, "ratelimit").contains("\"account\";r=0;t="), "{:?}", first.headers);
        assert_problem(&second, 429, "too_many_requests", "the second signature of the account");
        assert_problem(&fourth, 404, "account_not_found", "the last request of the key");
        assert_problem(&fifth, 429, "too_many_requests", "one request too many of the key");
        let after: u64 = fifth.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&after), "{after}");
        break;
    }
    embedded.stop().await;
}

#[tokio::test]
async fn a_party_signs_with_an_account_as_often_as_it_does_in_a_day() {
    let limits = LimitsConfig { signatures_per_day: std::num::NonZeroU32::new(2), ..LimitsConfig::default() };
    let deployment = Deployment::start_with(2, limits).await;
    let caller = deployment.caller();
    let day = || quorate_net::clock::Clock::seconds(&quorate_net::clock::SystemClock).0 / 86_400;
    let began = day();
    let id = caller.create().await;
    for digest in [[1; 32], [2; 32]] {
        assert_signs(&caller.sign(&id, digest).await.good(), digest);
    }
    let third = caller.sign(&id, [3; 32]).await;
    if day() == began {
        assert_problem(&third, 429, "daily_maximum", "the third signature of the day");
    }
    let other = caller.create().await;
    assert_signs(&caller.sign(&other, [4; 32]).await.good(), [4; 32]);
}

#[tokio::test]
async fn an_idempotency_key_gives_one_account_and_one_answer() {
    let mut deployment = Deployment::start(2).await;
    let caller = deployment.caller().clone();
    let create = |key: &'static str, body: Value| {
        let request = caller.request(Method::POST, "/api/v1/accounts").header("idempotency-key", key);
        send(request.json(&body))
    };
    let body = json!({ "user_id": "user123" });
    let (a, b, c) =
        tokio::join!(create("k", body.clone()), create("k", body.clone()), create("k", body.clone()));
    let replies = [a.good(), b.good(), c.good()];
    assert!(replies.windows(2).all(|pair| pair[0].body == pair[1].body));
    assert_eq!(rows(&deployment, "accounts").await, 1);
    let replayed = replies.iter().filter(|reply| reply.headers.contains_key("idempotency-replayed")).count();
    assert_eq!(replayed, 2);
    let other = create("k", json!({ "user_id": "another" })).await;
    assert_problem(&other, 409, "idempotency_key_reused", "another body");

    let id = replies[0].text("id").to_owned();
    let sign = |caller: &quorate_tests::embedded::Caller| {
        let request = caller.request(Method::POST, &format!("/api/v1/accounts/{id}/sign"));
        send(request.header("idempotency-key", "s").json(&json!({ "message": "07".repeat(32) })))
    };
    let first = sign(&caller).await.good();
    assert_eq!(sign(&caller).await.good().body, first.body);
    deployment.restart().await;
    assert_eq!(sign(deployment.caller()).await.good().body, first.body, "a restart forgot the answer");
    // The key came with another operation before.
    let reused = deployment.caller().request(Method::POST, &format!("/api/v1/accounts/{id}/refresh"));
    assert_problem(
        &send(reused.header("idempotency-key", "s")).await,
        409,
        "idempotency_key_reused",
        "refresh",
    );
}

#[tokio::test]
async fn refresh_keeps_the_key_and_a_restart_keeps_everything() {
    let mut deployment = Deployment::start(3).await;
    let id = deployment.caller().create().await;
    let path = format!("/api/v1/accounts/{id}");
    let before = deployment.caller().get(&path).await.good();
    let refresh = format!("{path}/refresh");
    let after = send(deployment.caller().request(Method::POST, &refresh)).await.good();
    assert_eq!(after.body["epoch"], json!(2));
    for field in ["id", "public_key", "ethereum_address", "bitcoin_address", "chain_code"] {
        assert_eq!(after.body[field], before.body[field], "{field}");
    }
    deployment.restart().await;
    assert_eq!(deployment.caller().get(&path).await.good().body, after.body);
    assert_signs(&deployment.caller().sign(&id, [3; 32]).await.good(), [3; 32]);
}

#[tokio::test]
async fn a_session_that_runs_out_of_time_can_still_be_read() {
    let limits = LimitsConfig { shares_per_party: Duration::from_millis(200), ..LimitsConfig::default() };
    let deployment = Deployment::start_with(3, limits).await;
    let reply = deployment.caller().post("/api/v1/accounts", &json!({ "user_id": "u" })).await;
    assert_problem(&reply, 504, "deadline_passed", "too little time");
    let session =
        deployment.caller().get(&format!("/api/v1/sessions/{}", reply.text("session_id"))).await.good();
    assert_eq!((session.text("status"), session.text("operation")), ("failed", "keygen"));
    assert_eq!(session.body["error"]["code"], "deadline_passed");
    let account = session.text("account_id");
    let account = deployment.caller().get(&format!("/api/v1/accounts/{account}")).await.good();
    assert_eq!(account.text("state"), "failed");
    assert!(account.body.get("ethereum_address").is_none(), "an address without a certificate");
    let sign = deployment.caller().sign(account.text("id"), [1; 32]).await;
    assert_problem(&sign, 409, "account_not_active", "an account without a key");
}

#[tokio::test]
async fn a_plugin_that_signs_wrongly_is_suspended_at_every_party_that_saw_it() {
    let mut deployment = Deployment::start(2).await;
    let caller = deployment.caller().clone();
    let id = caller.create().await;
    // It says that it is dkls23 and newer than ours: it is what the coordinator picks.
    let imposter = components::bytes("imposter");
    let digest = deployment.embedded().install(&imposter).await.unwrap().digest();
    let path = format!("/api/v1/accounts/{id}/sign");
    let wrong = json!({ "message": hex::encode("wrong-signature"), "hash": "sha256" });
    let reply = caller.post(&path, &wrong).await;
    // The first session ends in a bad signature; the next ones run on the good plugin.
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_ne!(reply.text("plugin_digest"), digest.to_string());
    // The second may be slower than the session on the good plugin, or hear from the first before it has seen
    // anything itself.
    let without = |party: &Party| party.plugins().iter().all(|plugin| plugin.digest() != digest);
    let suspended: Vec<bool> = deployment.embedded().parties().iter().map(|party| without(party)).collect();
    assert!(suspended.contains(&true), "not suspended");
    assert_signs(&caller.sign(&id, [5; 32]).await.good(), [5; 32]);
    deployment.restart().await;
    let plugin = deployment.embedded().install(&imposter).await.unwrap();
    for (party, suspended) in deployment.embedded().parties().iter().zip(suspended) {
        let remembered = party.suspended().await.unwrap().contains(&digest);
        assert!(remembered || !suspended, "a restart forgot the suspension");
        assert_eq!(party.install(&plugin).is_ok(), !remembered);
    }
}

#[tokio::test]
async fn the_description_of_the_api_lists_every_route() {
    let deployment = Deployment::start(2).await;
    let api = send(deployment.caller().bare(Method::GET, "/openapi.json")).await.good().body;
    let paths: Vec<&String> = api["paths"].as_object().unwrap().keys().collect();
    assert_eq!(
        paths,
        [
            "/api/v1/accounts",
            "/api/v1/accounts/{id}",
            "/api/v1/accounts/{id}/refresh",
            "/api/v1/accounts/{id}/repair",
            "/api/v1/accounts/{id}/sign",
            "/api/v1/sessions/{id}",
            "/health",
        ]
    );
    assert_eq!(api["components"]["securitySchemes"]["api_key"]["name"], "X-API-Key");
    for (path, methods) in api["paths"].as_object().unwrap().iter().filter(|(path, _)| *path != "/health") {
        for (method, operation) in methods.as_object().unwrap() {
            let described = &operation["responses"];
            assert!(described["4XX"].is_object() && described["5XX"].is_object(), "{method} {path}");
            assert_eq!(operation["requestBody"].is_object(), method == "post", "{method} {path}");
        }
    }
    let parts = api["components"]["schemas"]["AccountView"]["allOf"].as_array().unwrap();
    let required = parts.iter().filter_map(|part| part["required"].as_array()).flatten();
    let required: Vec<&str> = required.filter_map(Value::as_str).collect();
    // An account that is not active has no key.
    assert!(required.contains(&"state") && !required.contains(&"public_key"), "{required:?}");
    let codes = api["components"]["schemas"]["ProblemDocument"]["properties"]["code"]["enum"].as_array();
    assert_eq!(codes.unwrap().len(), Code::ALL.len());
}

/// The page that explains the codes has a line for each, with its status and title.
#[test]
fn every_code_is_explained() {
    let page = include_str!("../../../docs/errors.md");
    let lines: Vec<&str> = page.lines().filter(|line| line.contains("| `")).collect();
    assert_eq!(lines.len(), Code::ALL.len());
    for code in Code::ALL {
        let begin = format!("| {} | `{code}` | {} | ", code.status(), code.title());
        assert!(lines.iter().any(|line| line.starts_with(&begin)), "docs/errors.md: {begin}");
    }
}
