//! A hostile account service against the users' party: it has the originator key and a share that a user has sealed for one
//! message.

use std::time::Duration;

use quorate_core::certificate::{Certificate, KeyOutputs};
use quorate_core::codec::{decode, encode};
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_core::order::{MAX_ORDER_LIFETIME, Operation, Order, OrderTerms, Repair, RepairTarget, Version};
use quorate_core::share_grant::ShareGrant;
use quorate_core::submission::Submission;
use quorate_core::{KeySpec, OrderId, PartyIndex, Threshold};
use quorate_kit::{message, random32};
use quorate_net::clock::{Clock, SystemClock};
use quorate_proto::v1::coordinator_client::CoordinatorClient;
use quorate_proto::v1::submit_event::Event;
use quorate_proto::v1::user_party_client::UserPartyClient;
use quorate_proto::v1::{SubmitRequest, SubmitUserShareRequest};
use quorate_tests::embedded::{Caller, SHARES_KEY};
use quorate_tests::fleet::{DatabaseOf, Fleet, FleetSetup, Member};
use quorate_tests::user::{User, sealing_key};
use serde_json::json;
use tonic::transport::{Channel, Endpoint};

/// How long an order may take.
const LIMIT: Duration = Duration::from_secs(4);

/// An account whose user keeps a share, and all that its account service holds.
struct World {
    fleet: Fleet,
    originator: SecretKey,
    spec: KeySpec,
    certificate: Certificate,
    key: KeyOutputs,
    user: User,
}

impl World {
    async fn start() -> Self {
        let fleet = Fleet::start(FleetSetup::small()).await;
        let mut user = User::default();
        let body = json!({
            "user_id": "user123",
            "user_share": true,
            "recipient_key": user.recipient(),
            "claim_hash": user.claim_hash(),
        });
        let made = fleet.caller(0).post("/api/v1/accounts", &body).await.good();
        user.keep(made.text("user_share"));
        let body = json!({ "session_id": made.text("session_id"), "claim": user.claim() });
        let _ = party_api(&fleet).post("/api/v1/shares/confirm", &body).await.good();
        // The account service stores what has come of it when it is asked.
        let _ = fleet.caller(0).get(&format!("/api/v1/accounts/{}", made.text("id"))).await.good();
        let (certificate, outputs): (Vec<u8>, Vec<u8>) =
            sqlx::query_as("SELECT certificate, outputs FROM accounts")
                .fetch_one(&mut fleet.database(DatabaseOf::Account).await)
                .await
                .unwrap();
        let keys = fleet.party_keys().into_iter().chain([fleet.user_party_key().to_owned()]);
        let spec = KeySpec {
            account: made.text("id").parse().unwrap(),
            scheme: "ecdsa-secp256k1".into(),
            protocol: "dkls23".into(),
            threshold: Threshold::new(2, 3).unwrap(),
            parties: keys.map(|key| key.parse::<PublicKey>().unwrap()).collect(),
            mandatory: vec![],
        };
        let (certificate, key) = (decode(&certificate).unwrap(), decode(&outputs).unwrap());
        Self { originator: fleet.originator(), fleet, spec, certificate, key, user }
    }

    /// An order to sign a digest with the share that was sealed.
    fn order(&self, id: [u8; 32], digest: [u8; 32], sealed: &[u8]) -> Order {
        let terms = OrderTerms {
            operation: Operation::Sign(message(digest.to_vec()).into()),
            spec: self.spec.clone(),
            minimum_plugin: Version::default(),
            epoch: 1,
            share_set: Some(self.certificate.activation.plan),
            public_key: self.key.public_key.0.clone(),
            recipient: None,
        };
        let mut order = Order::new(OrderId(id), terms, SystemClock.seconds(), MAX_ORDER_LIFETIME);
        order.sealing_key = Some(ShareGrant::sealing_key(sealed).unwrap());
        order
    }

    /// The user's share, sealed for the signature of a digest.
    async fn sealed(&self, digest: [u8; 32]) -> Vec<u8> {
        let to = sealing_key(&party_api(&self.fleet).get("/api/v1/shares/key").await.good());
        hex::decode(self.user.for_signing(&to, digest)).unwrap()
    }

    /// Brings the share to the users' party, with an order; why it is refused.
    async fn bring(&self, order: &Order, sealed: &[u8]) -> Option<String> {
        let channel = channel(self.fleet.grpc_address(Member::PartyApi(0)));
        let request = SubmitUserShareRequest {
            order: encode(&order.sign(&self.originator)).into(),
            request: sealed.to_vec().into(),
            time_limit_ms: 10_000,
        };
        let response = UserPartyClient::new(channel).submit_user_share(request).await.unwrap();
        response.into_inner().refused.map(|failure| failure.code)
    }

    /// Has an order carried out, a signing by party 1 and the users' party; the code of its failure.
    async fn submit(&self, order: &Order) -> Option<String> {
        let submission = Submission {
            order: order.sign(&self.originator),
            time_limit_ms: u64::try_from(LIMIT.as_millis()).unwrap(),
            signers: match order.operation.makes_shares() {
                true => vec![],
                false => [1, 3].map(|index| PartyIndex::try_from(index).unwrap()).into(),
            },
            certificate: Some(self.certificate.clone()),
            chain_code: self.key.chain_code,
            aborts: vec![],
            resubmitted: false,
        };
        let submission = encode(&submission.sign(&self.originator)).into();
        let channel = channel(self.fleet.address(Member::Coordinator(0)));
        let submitted = CoordinatorClient::new(channel).submit(SubmitRequest { submission }).await;
        let mut events = submitted.unwrap().into_inner();
        while let Some(event) = events.message().await.unwrap() {
            if let Some(Event::Ended(failure)) = event.event {
                return Some(failure.code);
            }
        }
        None
    }

    /// Sessions that the users' party has started for an order.
    async fn sessions(&self, order: &Order) -> i64 {
        sqlx::query_scalar("SELECT COUNT(*) FROM sessions WHERE order_id = $1")
            .bind(order.id.as_bytes().as_slice())
            .fetch_one(&mut self.fleet.database(DatabaseOf::UserParty).await)
            .await
            .unwrap()
    }
}

fn party_api(fleet: &Fleet) -> Caller {
    Caller::new(fleet.address(Member::PartyApi(0))).with_key(SHARES_KEY)
}

fn channel(address: std::net::SocketAddr) -> Channel {
    Endpoint::new(format!("http://{address}")).unwrap().connect_lazy()
}

#[tokio::test]
async fn a_share_that_was_given_for_one_message_signs_no_other_under_the_same_order_id() {
    let world = World::start().await;
    let (wanted, other) = ([1; 32], [2; 32]);
    let sealed = world.sealed(wanted).await;
    let id = random32();
    let (shown, hostile) = (world.order(id, wanted, &sealed), world.order(id, other, &sealed));
    assert_eq!(world.bring(&hostile, &sealed).await.as_deref(), Some("user_share_for_another_message"));
    assert_eq!(world.bring(&shown, &sealed).await, None);
    let failure = world.submit(&hostile).await;
    assert!(failure.is_some(), "a message was signed that the user has not given the share for");
    assert_eq!(world.sessions(&hostile).await, 0);
    // What the user has given the share for is signed.
    let sealed = world.sealed(wanted).await;
    let honest = world.order(random32(), wanted, &sealed);
    assert_eq!(world.bring(&honest, &sealed).await, None);
    assert_eq!(world.submit(&honest).await, None);
    assert_eq!(world.sessions(&honest).await, 1);
}

/// The users' party has lost its database, and the operators of the others permit what they believe to be its repair. The account
/// service names itself as the recipient, and brings a share that it has made up.
#[tokio::test]
async fn a_users_share_is_never_repaired() {
    let mut world = World::start().await;
    world.fleet.lose_database(Member::PartyApi(0)).await;
    world.fleet.restart(Member::PartyApi(0)).await;
    let users_party = world.fleet.user_party_key().to_owned();
    for party in 0..2 {
        assert_eq!(
            world.fleet.admin(Member::Party(party), &["permit-repair", &users_party]),
            Ok("done".into())
        );
    }
    let thief = User::default();
    let to = sealing_key(&party_api(&world.fleet).get("/api/v1/shares/key").await.good());
    let sealed = hex::decode(world.user.for_refresh(&to, &thief)).unwrap();
    let mut order = world.order([60; 32], [60; 32], &sealed);
    let party = PartyIndex::try_from(3).unwrap();
    order.operation = Operation::Repair(Repair {
        targets: vec![RepairTarget { party, former_identity: users_party.parse().unwrap() }],
        certificate: world.certificate.clone(),
        outputs: world.key.clone(),
    });
    order.recipient = Some(hex::decode(thief.recipient()).unwrap().try_into().unwrap());
    order.claim_hash = Some(hex::decode(thief.claim_hash()).unwrap().try_into().unwrap());
    assert_eq!(world.bring(&order, &sealed).await, None, "nothing is left that contradicts it");
    assert_eq!(world.submit(&order).await.as_deref(), Some("refused"));
    let mut database = world.fleet.database(DatabaseOf::UserParty).await;
    let shares: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM shares").fetch_one(&mut database).await.unwrap();
    assert_eq!(shares, 0);
}
