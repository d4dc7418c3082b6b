//! Parties that have lost their databases, or their identities too, get their shares back when the operators of all others permit it.

use bitcoin::secp256k1::XOnlyPublicKey;
use quorate_tests::components;
use quorate_tests::embedded::{Caller, Reply, SHARES_KEY};
use quorate_tests::fleet::{Fleet, FleetSetup, Member};
use quorate_tests::user::{User, sealing_key};
use quorate_tests::verification::assert_signed_by;
use serde_json::{Value, json};

use crate::schnorr::{assert_bip340, assert_ed25519};

async fn fleet(parties: usize) -> Fleet {
    let plugins = ["dkls23", "frost-ed25519", "frost-secp256k1-tr"];
    Fleet::start(FleetSetup {
        accounts: 1,
        coordinators: 1,
        routers: 1,
        parties,
        plugins: plugins.map(|plugin| components::folder().join(format!("{plugin}.wasm"))).into(),
        ..FleetSetup::default()
    })
    .await
}

/// An account of a scheme, and its id and key.
struct Made {
    scheme: &'static str,
    id: String,
    key: Vec<u8>,
}

async fn make(fleet: &Fleet, scheme: &'static str) -> Made {
    let body = json!({ "user_id": "user123", "scheme": scheme });
    let made = fleet.caller(0).post("/api/v1/accounts", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    Made { scheme, id: made.text("id").into(), key: hex::decode(made.text("public_key")).unwrap() }
}

impl Made {
    async fn post(&self, fleet: &Fleet, what: &str, body: &Value) -> Reply {
        fleet.caller(0).post(&format!("/api/v1/accounts/{}/{what}", self.id), body).await
    }

    /// Signs with these parties.
    async fn assert_signs(&self, fleet: &Fleet, signers: &[u16]) {
        let message = [7; 32];
        let body = json!({ "message": hex::encode(message), "signers": signers });
        let signed = self.post(fleet, "sign", &body).await;
        assert_eq!(signed.status, 200, "{} {signers:?}: {signed:?}", self.scheme);
        match self.scheme {
            "ed25519" => assert_ed25519(&signed, &message, &hex::encode(&self.key)),
            "bip340" => assert_bip340(&signed, message, XOnlyPublicKey::from_slice(&self.key).unwrap()),
            _ => assert_signed_by(&signed, message, &self.key),
        }
    }

    async fn repair(&self, fleet: &Fleet, body: &Value) -> Reply {
        self.post(fleet, "repair", body).await
    }
}

fn permit(fleet: &Fleet, at: usize, lost: usize, more: &[&str]) {
    permit_at(fleet, Member::Party(at), lost, more);
}

fn permit_at(fleet: &Fleet, at: Member, lost: usize, more: &[&str]) {
    let key = fleet.party_keys()[lost].clone();
    let arguments = [&["permit-repair", &key], more].concat();
    assert_eq!(fleet.admin(at, &arguments), Ok("done".into()));
}

#[tokio::test]
async fn a_party_that_lost_its_database_is_repaired_once_all_other_operators_permit_it() {
    let mut fleet = fleet(3).await;
    let accounts =
        [make(&fleet, "ecdsa-secp256k1").await, make(&fleet, "ed25519").await, make(&fleet, "bip340").await];
    // Nothing is lost yet.
    let account = &accounts[0];
    for party in [0, 1] {
        permit(&fleet, party, 2, &["--account", &account.id]);
    }
    let refused = account.repair(&fleet, &json!({ "party": 3 })).await;
    assert_eq!((refused.status, refused.text("code")), (409, "share_not_lost"), "{refused:?}");

    fleet.lose_database(Member::Party(2)).await;
    fleet.restart(Member::Party(2)).await;
    // The others go on, and a refresh says what is wrong.
    fleet.sign(0, &account.id, &account.key, [1; 32]).await;
    let refreshed = account.post(&fleet, "refresh", &json!({})).await;
    assert_eq!((refreshed.status, refreshed.text("code")), (409, "share_lost"), "{refreshed:?}");
    assert!(refreshed.text("detail").contains("party 3") && refreshed.text("detail").contains("/repair"));

    // The first attempt has used the permits for this account up.
    for account in &accounts {
        let refused = account.repair(&fleet, &json!({ "party": 3 })).await;
        assert_eq!((refused.status, refused.text("code")), (409, "repair_not_permitted"), "{refused:?}");
    }
    permit(&fleet, 0, 2, &[]);
    let refused = account.repair(&fleet, &json!({ "party": 3 })).await;
    assert_eq!((refused.status, refused.text("code")), (409, "repair_not_permitted"), "{refused:?}");
    assert!(refused.text("detail").contains("permit-repair"), "{refused:?}");
    permit(&fleet, 0, 2, &[]);
    permit(&fleet, 1, 2, &["--hours", "1"]);
    for account in &accounts {
        let repaired = account.repair(&fleet, &json!({ "party": 3 })).await;
        assert_eq!((repaired.status, &repaired.body["epoch"]), (200, &json!(2)), "{repaired:?}");
        assert_eq!(repaired.text("public_key"), hex::encode(&account.key));
        for signers in [[1, 3], [2, 3], [1, 2]] {
            account.assert_signs(&fleet, &signers).await;
        }
        let refreshed = account.post(&fleet, "refresh", &json!({})).await;
        assert_eq!((refreshed.status, &refreshed.body["epoch"]), (200, &json!(3)), "{refreshed:?}");
    }

    // Each permit serves for each account once.
    fleet.lose_database(Member::Party(2)).await;
    fleet.restart(Member::Party(2)).await;
    let refused = account.repair(&fleet, &json!({ "party": 3 })).await;
    assert_eq!((refused.status, refused.text("code")), (409, "repair_not_permitted"), "{refused:?}");
}

#[tokio::test]
async fn parties_that_lost_their_identities_too_have_new_ones_in_the_key_afterwards() {
    let mut fleet = fleet(5).await;
    let body = json!({ "user_id": "user123", "scheme": "ed25519", "threshold": { "t": 3, "n": 5 } });
    let made = fleet.caller(0).post("/api/v1/accounts", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let key = hex::decode(made.text("public_key")).unwrap();
    let account = Made { scheme: "ed25519", id: made.text("id").into(), key };
    let signed = account.post(&fleet, "sign", &json!({ "message": hex::encode([1; 32]) })).await;
    for party in [1, 3] {
        fleet.lose_database(Member::Party(party)).await;
    }
    let former = fleet.lose_identity(3).await;
    fleet.restart_all().await;
    // The account is known by its former parties, and nothing starts before it has its new ones.
    let refused = account.post(&fleet, "refresh", &json!({})).await;
    assert_eq!(refused.text("code"), "misconfigured", "{refused:?}");
    let permit_both = |fleet: &Fleet| {
        for party in 0..5 {
            if party != 1 {
                permit(fleet, party, 1, &[]);
            }
            if party != 3 {
                permit(fleet, party, 3, &["--replaces", &former]);
            }
        }
    };
    permit_both(&fleet);
    let identity = fleet.party_keys()[3].clone();
    // Each other party must have its share.
    let alone = account.repair(&fleet, &json!({ "party": 4, "identity": identity })).await;
    assert_eq!((alone.status, alone.text("code")), (409, "share_lost"), "{alone:?}");
    let both = json!({ "parties": [{ "party": 2 }, { "party": 4, "identity": identity }] });
    permit_both(&fleet);
    // Nobody gets the share of another index.
    let swapped = json!({ "parties": [{ "party": 2, "identity": identity }, { "party": 4, "identity": fleet.party_keys()[1] }] });
    let refused = account.repair(&fleet, &swapped).await;
    assert_eq!((refused.status, refused.text("code")), (422, "invalid_body"), "{refused:?}");
    let repaired = account.repair(&fleet, &both).await;
    assert_eq!((repaired.status, &repaired.body["epoch"]), (200, &json!(2)), "{repaired:?}");
    for signers in [[1, 2, 4], [2, 4, 5], [1, 3, 5]] {
        account.assert_signs(&fleet, &signers).await;
    }
    let refreshed = account.post(&fleet, "refresh", &json!({})).await;
    assert_eq!((refreshed.status, &refreshed.body["epoch"]), (200, &json!(3)), "{refreshed:?}");
    // What was signed with the former parties is still shown.
    let path = format!("/api/v1/sessions/{}", signed.text("session_id"));
    let session = fleet.caller(0).get(&path).await.good();
    assert_eq!(session.text("status"), "completed", "{session:?}");
}

#[tokio::test]
async fn what_can_not_be_repaired_is_refused_at_once_with_the_reason() {
    let fleet = fleet(3).await;
    let body = json!({ "user_id": "user123", "scheme": "ed25519", "threshold": { "t": 2, "n": 2 } });
    let made = fleet.caller(0).post("/api/v1/accounts", &body).await;
    let all_sign = Made { scheme: "ed25519", id: made.text("id").into(), key: vec![] };
    let account = make(&fleet, "ed25519").await;
    let stranger = "11".repeat(32);
    for (account, body, status, code) in [
        (&all_sign, json!({ "party": 1 }), 409, "repair_impossible"),
        (&account, json!({ "parties": [{ "party": 1 }, { "party": 2 }] }), 409, "repair_impossible"),
        (&account, json!({ "party": 4 }), 422, "invalid_body"),
        (&account, json!({ "party": 0 }), 422, "invalid_body"),
        (&account, json!({}), 422, "invalid_body"),
        (&account, json!({ "parties": [] }), 422, "invalid_body"),
        (&account, json!({ "parties": [{ "party": 2 }, { "party": 2 }] }), 422, "invalid_body"),
        (&account, json!({ "party": 1, "parties": [{ "party": 2 }] }), 422, "invalid_body"),
        (&account, json!({ "party": 1, "identity": "zz" }), 422, "invalid_body"),
        (&account, json!({ "party": 1, "identity": fleet.party_keys()[1] }), 422, "invalid_body"),
        (&account, json!({ "party": 1, "identity": stranger }), 500, "misconfigured"),
        (&account, json!({ "party": 1, "user_share": "00" }), 422, "user_share_unreadable"),
        (&account, json!({ "party": 1 }), 409, "share_not_lost"),
    ] {
        let refused = account.repair(&fleet, &body).await;
        assert_eq!((refused.status, refused.text("code")), (status, code), "{body}: {refused:?}");
    }
    let stranger_permitted = fleet.admin(Member::Party(0), &["permit-repair", &stranger]).unwrap_err();
    assert!(stranger_permitted.contains("QUORATE_PARTY_KEYS"), "{stranger_permitted}");
    let own = fleet.party_keys()[0].clone();
    assert!(fleet.admin(Member::Party(0), &["permit-repair", &own]).is_err());
    assert!(
        fleet.admin(Member::Party(0), &["permit-repair", &fleet.party_keys()[1], "--hours", "169"]).is_err()
    );
}

/// The user brings the share to a repair of another party as to a refresh.
#[tokio::test]
async fn a_user_brings_the_share_to_the_repair_of_another_party() {
    let mut fleet = Fleet::start(FleetSetup {
        accounts: 1,
        coordinators: 1,
        routers: 1,
        parties: 2,
        party_apis: 1,
        ..FleetSetup::default()
    })
    .await;
    let party_api = Caller::new(fleet.address(Member::PartyApi(0))).with_key(SHARES_KEY);
    let confirm = async |made: &Reply, user: &User| {
        let body = json!({ "session_id": made.text("session_id"), "claim": user.claim() });
        party_api.post("/api/v1/shares/confirm", &body).await.good()
    };
    let (mut user, mut next) = (User::default(), User::default());
    let body = json!({
        "user_id": "user123",
        "user_share": true,
        "recipient_key": user.recipient(),
        "claim_hash": user.claim_hash(),
    });
    let made = fleet.caller(0).post("/api/v1/accounts", &body).await.good();
    user.keep(made.text("user_share"));
    let _ = confirm(&made, &user).await;
    let path = format!("/api/v1/accounts/{}", made.text("id"));
    let account = fleet.caller(0).get(&path).await.good();
    let key = hex::decode(account.text("public_key")).unwrap();
    let account = Made { scheme: "ecdsa-secp256k1", id: made.text("id").into(), key };

    fleet.lose_database(Member::Party(1)).await;
    fleet.restart(Member::Party(1)).await;
    let to = sealing_key(&party_api.get("/api/v1/shares/key").await.good());
    let without = account.repair(&fleet, &json!({ "party": 2 })).await;
    assert_eq!((without.status, without.text("code")), (422, "user_share_required"), "{without:?}");
    let of_user =
        account.repair(&fleet, &json!({ "party": 3, "user_share": user.for_refresh(&to, &next) })).await;
    assert_eq!((of_user.status, of_user.text("code")), (409, "repair_impossible"), "{of_user:?}");
    let body = json!({
        "party": 2,
        "user_share": user.for_refresh(&to, &next),
        "recipient_key": next.recipient(),
        "claim_hash": next.claim_hash(),
    });
    permit(&fleet, 0, 1, &[]);
    permit_at(&fleet, Member::PartyApi(0), 1, &[]);
    let repaired = account.repair(&fleet, &body).await.good();
    next.keep(repaired.text("user_share"));
    let _ = confirm(&repaired, &next).await;
    let digest = [9; 32];
    let share = next.for_signing(&to, digest);
    let body = json!({ "message": hex::encode(digest), "user_share": share, "signers": [2, 3] });
    let signed = account.post(&fleet, "sign", &body).await;
    assert_eq!(signed.status, 200, "{signed:?}");
    assert_signed_by(&signed, digest, &account.key);
}
