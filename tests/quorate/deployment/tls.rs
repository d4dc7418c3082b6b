//! TLS between roles, both sides certified; and towards callers.

use std::path::Path;
use std::time::{Duration, Instant};

use quorate_tests::fleet::{Fleet, FleetSetup, Member};
use quorate_tests::user::User;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;

use quorate_tests::verification::assert_signs;

struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// Certifies a key for this machine.
    fn certify(&self, folder: &Path, name: &str) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let write = |suffix: &str, text: String| {
            let path = folder.join(format!("{name}.{suffix}"));
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        [write("pem", certificate.pem()), write("key", key.serialize_pem())]
    }
}

fn settings(authority: &str, [certificate, key]: &[String; 2]) -> Vec<(String, String)> {
    [
        ("TLS_CERT_FILE", certificate.as_str()),
        ("TLS_KEY_FILE", key),
        ("TLS_CA_FILE", authority),
        ("TLS_CLIENT_CA_FILE", authority),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

#[tokio::test]
async fn roles_reach_each_other_over_tls_and_strangers_reach_none() {
    quorate_net::tls::install();
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, &ours.certificate).unwrap();
    let authority = authority.display().to_string();
    let setup = FleetSetup {
        tls: true,
        settings: settings(&authority, &ours.certify(folder.path(), "ours")),
        ..FleetSetup::small()
    };
    let fleet = Fleet::start(setup).await;
    let root = reqwest::Certificate::from_pem(ours.certificate.as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root.clone()]).build().unwrap();
    let base = format!("https://{}/api/v1/accounts", fleet.address(Member::Account(0)));
    let post = async |path: &str, body: serde_json::Value| {
        let key = quorate_tests::embedded::KEY;
        let request = client.post(format!("{base}{path}")).header("x-api-key", key).json(&body);
        quorate_tests::embedded::send(request).await
    };
    let made = post("", json!({ "user_id": "user123" })).await;
    assert_eq!(made.status, 201, "{made:?}");
    let signed =
        post(&format!("/{}/sign", made.text("id")), json!({ "message": hex::encode([7; 32]) })).await;
    assert_eq!(signed.status, 200, "{signed:?}");
    assert_signs(&signed, [7; 32]);
    // The account service reaches the port of the party API that is for roles only.
    let user = User::default();
    let body = json!({
        "user_id": "user",
        "user_share": true,
        "recipient_key": user.recipient(),
        "claim_hash": user.claim_hash(),
    });
    let waiting = post("", body).await;
    assert_eq!((waiting.status, waiting.text("state")), (201, "pending"), "{waiting:?}");
    assert!(waiting.body["user_share"].is_string(), "{waiting:?}");
    for (member, role) in [
        (Member::Account(0), "account"),
        (Member::Coordinator(0), "coordinator"),
        (Member::Router(0), "router"),
        (Member::Party(1), "party"),
        (Member::PartyApi(0), "party-api"),
    ] {
        let report = fleet.healthcheck(member, role).unwrap();
        assert!(report.contains(&format!(r#""role":"{role}""#)), "{report}");
    }

    // Callers need no certificate of the account service; roles do, and not just any.
    let health = format!("https://{}/health", fleet.address(Member::Coordinator(0)));
    assert!(
        client.get(&health).send().await.is_err(),
        "a coordinator talks to somebody without a certificate"
    );
    let [certificate, key] = theirs.certify(folder.path(), "theirs");
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    let identity = reqwest::Identity::from_pem((read(&certificate) + &read(&key)).as_bytes()).unwrap();
    let builder = reqwest::Client::builder().tls_certs_only([root]);
    let stranger = builder.identity(identity).build().unwrap();
    assert!(stranger.get(&health).send().await.is_err(), "a coordinator talks to a stranger");
    let for_roles = format!("https://{}/", fleet.grpc_address(Member::PartyApi(0)));
    assert!(client.get(&for_roles).send().await.is_err(), "a party API talks about shares with a stranger");
    assert!(stranger.get(&for_roles).send().await.is_err(), "a party API talks about shares with a stranger");
    assert!(client.get(health.replace("https", "http")).send().await.is_err(), "a coordinator talks plainly");
    certificates_are_replaced_while_it_runs(&fleet, &ours, &theirs, folder.path()).await;
    let signed =
        post(&format!("/{}/sign", made.text("id")), json!({ "message": hex::encode([8; 32]) })).await;
    assert_eq!(signed.status, 200, "{signed:?}");
}

/// The certificate that a process shows on a new connection.
async fn shown(fleet: &Fleet, member: Member, authority: &Authority) -> Vec<u8> {
    let root = reqwest::Certificate::from_pem(authority.certificate.as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).tls_info(true).build().unwrap();
    let url = format!("https://{}/health", fleet.address(member));
    let answer = client.get(url).send().await.unwrap();
    answer.extensions().get::<reqwest::tls::TlsInfo>().unwrap().peer_certificate().unwrap().to_vec()
}

/// All processes of the fleet have the same files.
async fn certificates_are_replaced_while_it_runs(
    fleet: &Fleet,
    ours: &Authority,
    theirs: &Authority,
    folder: &Path,
) {
    let (told, not_told) = (Member::Account(0), Member::Party(1));
    let before = shown(fleet, told, ours).await;
    let becomes_new = async |member, within: Duration| {
        let began = Instant::now();
        while shown(fleet, member, ours).await == before {
            assert!(began.elapsed() < within, "{member:?} goes on with its old certificate");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let [certificate, _] = ours.certify(folder, "ours");
    let hang_up = || {
        let sent = std::process::Command::new("kill").args(["-HUP", &fleet.pid(told).to_string()]).status();
        assert!(sent.unwrap().success());
    };
    hang_up();
    becomes_new(told, Duration::from_secs(5)).await;
    // It looks at its files itself.
    becomes_new(not_told, Duration::from_secs(20)).await;
    let good = shown(fleet, told, ours).await;
    // The key of another certificate.
    let [other, _] = theirs.certify(folder, "theirs");
    std::fs::copy(&other, &certificate).unwrap();
    hang_up();
    let began = Instant::now();
    while !fleet.logged(told).contains("failed to reload") {
        assert!(began.elapsed() < Duration::from_secs(5), "{}", fleet.logged(told));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(shown(fleet, told, ours).await, good);
}
