//! Separate processes between which a hostile coordinator and a hostile router stand: what is signed, activated and run
//! again is not up to them. The parties' plans pass through the test, which holds what the two hold: the secret of join
//! tokens, and nothing that signs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use quorate_backends::queue::{Queue, RabbitAddress, RabbitQueue};
use quorate_core::codec::{Bytes, decode, encode};
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_core::order::{HashFunction, Operation, Order, SignItem};
use quorate_core::plan::Plan;
use quorate_core::session::Frame;
use quorate_core::submission::Submission;
use quorate_core::{Digest, OrderId, PartyIndex, UnixMillis};
use quorate_kit::random32;
use quorate_net::join_token::{JoinKey, Joiner};
use quorate_net::server::{Callers, serve};
use quorate_net::topics::{CANCELLED, presence_of, queue_of};
use quorate_proto::v1::coordinator_client::CoordinatorClient;
use quorate_proto::v1::{Delivery, Outgoing, SubmitRequest};
use quorate_tests::embedded::Reply;
use quorate_tests::fault_injection::{self, Account, assert_parties_agree, assert_signs_again};
use quorate_tests::fleet::{DatabaseOf, Fleet, FleetSetup, Member};
use quorate_tests::services::unique;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use quorate_tests::hostile_router::{NetworkFault, before};
use quorate_tests::verification::assert_signed_by;

/// The fate of a plan on its way to a party.
type PlanFault = dyn Fn(PartyIndex, &Plan, Delivery) -> Vec<Delivery> + Send + Sync;

/// The plans that were delivered, with their receivers.
type Delivered = Arc<Mutex<Vec<(PartyIndex, Delivery)>>>;

const PARTIES: usize = 3;

/// How long a message may wait for a party.
const TIME_TO_LIVE: Duration = Duration::from_secs(30);

/// A deployment whose coordinator and router are hostile.
struct World {
    fleet: Fleet,
    account: Account,
    plan_fault: Arc<Mutex<Arc<PlanFault>>>,
    network_fault: Arc<Mutex<Arc<NetworkFault>>>,
    /// Everything that was delivered.
    delivered: Delivered,
    /// The parties' broker, as they see it.
    parties: RabbitQueue,
}

fn party(index: u16) -> PartyIndex {
    PartyIndex::try_from(index).unwrap()
}

fn identity(hex: &str) -> PublicKey {
    PublicKey(hex::decode(hex).unwrap().try_into().unwrap())
}

async fn broker(fleet: &FleetSetup, namespace: &str) -> RabbitQueue {
    RabbitQueue::connect(RabbitAddress::new(&fleet.services[1]).unwrap(), namespace).await.unwrap()
}

impl World {
    async fn start() -> Self {
        quorate_net::tls::install();
        let (theirs, listener) = (unique(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let router = format!("http://{}", listener.local_addr().unwrap());
        let own = |name: &str, value: &str| {
            (0..PARTIES).map(|i| (Member::Party(i), name.to_owned(), value.to_owned())).collect::<Vec<_>>()
        };
        let setup = FleetSetup {
            coordinators: 1,
            routers: 1,
            settings: [("QUORATE_SIGN_TIMEOUT_MS", "4000"), ("QUORATE_SHARES_TIMEOUT_MS", "4000")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            own_settings: [own("QUORATE_NAMESPACE", &theirs), own("QUORATE_ROUTERS", &router)].concat(),
            ..FleetSetup::default()
        };
        let fleet = Fleet::prepare(setup.clone()).await;
        let honest: Arc<PlanFault> = Arc::new(|_, _, delivery| vec![delivery]);
        let plan_fault = Arc::new(Mutex::new(honest));
        let passes: Arc<NetworkFault> = Arc::new(|_, _, _, sent| vec![(Duration::ZERO, sent)]);
        let network_fault = Arc::new(Mutex::new(passes));

        let channel = Endpoint::new(format!("http://{}", fleet.address(Member::Router(0)))).unwrap();
        let now = Arc::clone(&network_fault);
        let network_faults: Arc<NetworkFault> = Arc::new(move |from, to, frame, sent| {
            let network_fault = Arc::clone(&now.lock().unwrap());
            network_fault(from, to, frame, sent)
        });
        let routes = before(channel.connect_lazy(), network_faults);
        tokio::spawn(serve(listener, routes, Callers::Roles, CancellationToken::new(), Duration::ZERO));

        fleet.make_queues_in(&theirs).await;
        let (ours, parties) = (broker(&setup, fleet.namespace()).await, broker(&setup, &theirs).await);
        let delivered = Arc::new(Mutex::new(Vec::new()));
        for (index, key) in PartyIndex::all(3).zip(fleet.party_keys()) {
            let relay = relay(
                index,
                queue_of(&identity(&key)),
                (ours.clone(), parties.clone()),
                (Arc::clone(&plan_fault), Arc::clone(&delivered)),
            );
            tokio::spawn(relay);
            tokio::spawn(repeat(presence_of(&identity(&key)), parties.clone(), ours.clone()));
        }
        tokio::spawn(repeat(CANCELLED.to_owned(), ours, parties.clone()));
        let fleet = fleet.go().await;
        let (id, key) = fleet.create(0).await;
        let account = Account { id, key, user: None };
        Self { fleet, account, plan_fault, network_fault, delivered, parties }
    }

    /// The fate of plans from now on.
    fn plans(
        &self,
        plan_fault: impl Fn(PartyIndex, &Plan, Delivery) -> Vec<Delivery> + Send + Sync + 'static,
    ) {
        *self.plan_fault.lock().unwrap() = Arc::new(plan_fault);
    }

    /// The fate of frames from now on.
    fn frames(
        &self,
        network_fault: impl Fn(u32, u32, &Frame, Outgoing) -> Vec<(Duration, Outgoing)> + Send + Sync + 'static,
    ) {
        *self.network_fault.lock().unwrap() = Arc::new(network_fault);
    }

    /// A token for this plan, as a coordinator makes it.
    fn token(&self) -> impl Fn(&Plan, PartyIndex) -> String + Send + Sync + use<> {
        let key = JoinKey::new(self.fleet.jwt_secret()).unwrap();
        move |plan, party| {
            let order: Order = decode(plan.order.bytes()).unwrap();
            let identity = order.spec.party(party).unwrap();
            let joiner = Joiner { identity, party, parties: 3 };
            key.token(plan.session_id(), joiner, plan.deadline.seconds() + Duration::from_secs(60))
        }
    }

    async fn sign(&self, digest: [u8; 32], signers: &[u16]) -> Reply {
        let path = format!("/api/v1/accounts/{}/sign", self.account.id);
        let body = json!({ "message": hex::encode(digest), "signers": signers });
        self.fleet.caller(0).post(&path, &body).await
    }

    async fn assert_signs(&self, digest: [u8; 32], case: &str) {
        let signed = self.sign(digest, &[1, 2]).await;
        assert_eq!(signed.status, 200, "{case}: {signed:?}");
        assert_signed_by(&signed, digest, &self.account.key);
    }

    /// A number from the database of a party.
    async fn count(&self, party: usize, query: &'static str) -> i64 {
        sqlx::query_scalar(query)
            .fetch_one(&mut self.fleet.database(DatabaseOf::Party(party)).await)
            .await
            .unwrap()
    }

    /// Sessions that the parties have started.
    async fn sessions(&self) -> i64 {
        let mut all = 0;
        for party in 0..PARTIES {
            all += self.count(party, "SELECT COUNT(*) FROM sessions").await;
        }
        all
    }

    /// Ends all faults: everything works again, and all parties agree.
    async fn assert_well(&self, case: &str) {
        self.plans(|_, _, delivery| vec![delivery]);
        self.frames(|_, _, _, sent| vec![(Duration::ZERO, sent)]);
        assert_signs_again(&self.fleet, &self.account, None, case).await;
        assert_parties_agree(&self.fleet, &self.account, case).await;
    }
}

/// Passes plans on, changed by the fault of the moment.
async fn relay(
    index: PartyIndex,
    queue: String,
    (from, to): (RabbitQueue, RabbitQueue),
    (plan_fault, delivered): (Arc<Mutex<Arc<PlanFault>>>, Delivered),
) {
    let mut consumer = from.consume(&queue, 64).await.unwrap();
    loop {
        let message = consumer.next().await.unwrap();
        let delivery = Delivery::decode(message.payload()).unwrap();
        let plan: Plan = decode(&delivery.plan).unwrap();
        let plan_fault = Arc::clone(&plan_fault.lock().unwrap());
        for delivery in plan_fault(index, &plan, delivery) {
            to.publish(&queue, delivery.encode_to_vec(), TIME_TO_LIVE).await.unwrap();
            delivered.lock().unwrap().push((index, delivery));
        }
        message.ack().await.unwrap();
    }
}

/// Tells the listeners of one broker what is told at another.
async fn repeat(topic: String, from: RabbitQueue, to: RabbitQueue) {
    let mut listener = from.listen(&topic).await.unwrap();
    loop {
        let payload = listener.next().await.unwrap();
        to.announce(&topic, payload).await.unwrap();
    }
}

fn is_signing(plan: &Plan) -> bool {
    // A coordinator can read every order.
    decode::<Order>(plan.order.bytes()).is_ok_and(|order| matches!(order.operation, Operation::Sign(_)))
}

/// Whether it worked; if not, the error says what to do, or what the parties did not accept.
fn assert_typed(reply: &Reply, case: &str) -> bool {
    !["refused", "share_unusable"].contains(&reply.text("code")) && fault_injection::assert_typed(reply, case)
}

fn at_once(sent: Outgoing) -> (Duration, Outgoing) {
    (Duration::ZERO, sent)
}

#[tokio::test]
async fn a_hostile_coordinator_makes_no_party_run_what_was_not_ordered() {
    let world = World::start().await;

    let before = world.sessions().await;
    world.plans(|_, _, delivery| vec![delivery.clone(), delivery.clone(), delivery]);
    world.assert_signs([1; 32], "plans delivered three times").await;
    assert_eq!(world.sessions().await, before + 2, "a plan that came three times");

    // Not one bit of an order can be changed on its way.
    world.plans(|_, plan, delivery| {
        let order = plan.order.bytes();
        let at = delivery.plan.windows(order.len()).position(|bytes| bytes == order).unwrap();
        let flipped = (0..order.len()).step_by(3).map(|offset| {
            let mut plan = delivery.plan.to_vec();
            plan[at + offset] ^= 1 << (offset % 8);
            Delivery { plan: plan.into(), ..delivery.clone() }
        });
        flipped.chain([delivery.clone()]).collect()
    });
    world.assert_signs([2; 32], "flipped orders").await;
    assert_eq!(world.sessions().await, before + 4, "a flipped order started a session");

    // An order of another originator, for another operation, under this name or another.
    let (stranger, token) = (SecretKey::from_seed(&random32()), world.token());
    world.plans(move |to, plan, delivery| {
        let mut forged: Order = decode(plan.order.bytes()).unwrap();
        let message = SignItem {
            message: Bytes(vec![0x66; 32]),
            hash: HashFunction::None,
            path: vec![],
            merkle_root: None,
            presignatures: false,
        };
        forged.operation = Operation::Sign(message.into());
        let mut renamed = forged.clone();
        renamed.id = OrderId([0x66; 32]);
        let forged = [forged, renamed].map(|order| {
            let plan = Plan { order: order.sign(&stranger), ..plan.clone() };
            Delivery { plan: encode(&plan).into(), token: token(&plan, to) }
        });
        forged.into_iter().chain([delivery]).collect()
    });
    world.assert_signs([3; 32], "forged orders").await;
    assert_eq!(world.sessions().await, before + 6, "a forged order started a session");

    // Plans that do not fit their genuine order.
    let token = world.token();
    world.plans(move |to, plan, delivery| {
        // Another session each: what is refused is reported, and this one's reports are to be the genuine ones.
        let plan = || Plan { nonce: random32(), ..plan.clone() };
        let bad = [
            Plan { signers: vec![party(1), party(2), party(3)], ..plan() },
            Plan { signers: vec![to], ..plan() },
            Plan { signers: vec![party(2), party(1)], ..plan() },
            Plan { digest: Digest([9; 32]), ..plan() },
            Plan { deadline: UnixMillis(1), ..plan() },
        ];
        let bad =
            bad.map(|plan| Delivery { plan: encode(&plan).into(), token: token(&plan, to) }).into_iter();
        bad.chain([delivery]).collect()
    });
    world.assert_signs([4; 32], "plans that do not fit").await;
    assert_eq!(world.sessions().await, before + 8, "a plan that does not fit started a session");
    world.assert_well("forged plans").await;

    // What a party has seen of an order does not let it have the order carried out.
    let seen = world.delivered.lock().unwrap().last().unwrap().1.clone();
    let order = decode::<Plan>(&seen.plan).unwrap().order;
    let submission = Submission {
        order,
        time_limit_ms: 4_000,
        signers: vec![],
        certificate: None,
        chain_code: None,
        aborts: vec![],
        resubmitted: false,
    };
    let submission = encode(&submission.sign(&SecretKey::from_seed(&random32())));
    let channel = Endpoint::new(format!("http://{}", world.fleet.address(Member::Coordinator(0))))
        .unwrap()
        .connect_lazy();
    let submitted =
        CoordinatorClient::new(channel).submit(SubmitRequest { submission: submission.into() }).await;
    assert_eq!(submitted.unwrap_err().code(), tonic::Code::PermissionDenied);

    // Everything that has ever been delivered, once more.
    let (before, all) = (world.sessions().await, world.delivered.lock().unwrap().clone());
    let keys: Vec<PublicKey> = world.fleet.party_keys().iter().map(|key| identity(key)).collect();
    for (to, delivery) in all {
        let queue = queue_of(&keys[usize::from(to.number()) - 1]);
        world.parties.publish(&queue, delivery.encode_to_vec(), TIME_TO_LIVE).await.unwrap();
    }
    world.assert_signs([5; 32], "replayed plans").await;
    assert_eq!(world.sessions().await, before + 2, "a replayed plan started a session");
}

#[tokio::test]
async fn a_hostile_coordinator_that_tells_parties_different_things_gets_errors_and_no_more_sessions_than_allowed()
 {
    let world = World::start().await;

    // One party hears of another session than the other.
    let token = world.token();
    world.plans(move |to, plan, delivery| {
        if to.number() != 1 || !is_signing(plan) {
            return vec![delivery];
        }
        let plan = Plan { nonce: random32(), ..plan.clone() };
        vec![Delivery { plan: encode(&plan).into(), token: token(&plan, to) }]
    });
    let split = world.sign([1; 32], &[1, 2]).await;
    assert!(!assert_typed(&split, "split plans"), "parties signed in different sessions: {split:?}");
    world.assert_well("split plans").await;

    // One order, and as many sessions as one likes.
    let token = world.token();
    world.plans(move |to, plan, delivery| {
        let more = (0..10).map(|_| {
            let plan = Plan { nonce: random32(), ..plan.clone() };
            Delivery { plan: encode(&plan).into(), token: token(&plan, to) }
        });
        more.chain([delivery]).collect()
    });
    assert_typed(&world.sign([2; 32], &[1, 2]).await, "many sessions");
    for party in 0..PARTIES {
        // One that is given up before it has begun counts as none, and leaves a row in `sessions` too.
        let most = "SELECT MAX(sessions) FROM orders";
        assert!(world.count(party, most).await <= 3, "an order had more than three sessions");
    }
    world.assert_well("many sessions").await;

    // One party hears of nothing.
    world.plans(|to, _, delivery| if to.number() == 1 { vec![] } else { vec![delivery] });
    let lost = world.sign([3; 32], &[1, 2]).await;
    assert!(!assert_typed(&lost, "a plan that is lost"), "{lost:?}");
    world.assert_well("a plan that is lost").await;
}

#[tokio::test]
async fn a_hostile_router_costs_time_and_nothing_else() {
    let world = World::start().await;
    let path = format!("/api/v1/accounts/{}/refresh", world.account.id);

    let count = AtomicU64::new(0);
    world.frames(move |_, _, _, sent| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        vec![(Duration::from_millis(1 + number * 7 % 40), sent)]
    });
    world.assert_signs([1; 32], "frames in another order").await;
    let _ = world.fleet.caller(0).post(&path, &json!({})).await.good();
    world.assert_well("frames in another order").await;

    let count = AtomicU64::new(0);
    world.frames(move |_, _, _, sent| match count.fetch_add(1, Ordering::Relaxed) % 5 {
        0 => vec![],
        1 => vec![at_once(sent.clone()), at_once(sent)],
        _ => vec![at_once(sent)],
    });
    for round in 0..4 {
        assert_typed(&world.sign([2 + round; 32], &[1, 2]).await, "frames lost and doubled");
    }
    assert_typed(
        &world.fleet.caller(0).post(&path, &json!({})).await,
        "a refresh with frames lost and doubled",
    );
    world.assert_well("frames lost and doubled").await;

    // Frames of earlier sessions, and changed ones, before the genuine ones.
    let earlier = Mutex::new(VecDeque::new());
    world.frames(move |_, to, _, sent| {
        let mut earlier = earlier.lock().unwrap();
        let mut all: Vec<Outgoing> = earlier.iter().cloned().collect();
        if earlier.len() == 20 {
            earlier.pop_front();
        }
        earlier.push_back(sent.clone());
        let mut changed = sent.frame.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        all.push(Outgoing { frame: changed.into(), ..sent.clone() });
        all.push(sent);
        all.into_iter().map(|sent| at_once(Outgoing { to, ..sent })).collect()
    });
    for round in 0..4 {
        world.assert_signs([10 + round; 32], "frames of other sessions and changed ones").await;
    }
    world.assert_well("frames of other sessions and changed ones").await;

    // What one party hears is not what was said.
    world.frames(|_, to, _, sent| {
        let mut changed = sent.frame.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        vec![at_once(if to == 1 { Outgoing { frame: changed.into(), ..sent } } else { sent })]
    });
    let misled = world.sign([20; 32], &[1, 2]).await;
    assert!(!assert_typed(&misled, "one party is misled"), "{misled:?}");
    world.assert_well("one party is misled").await;
}

#[tokio::test]
async fn a_party_from_which_promises_and_certificates_are_withheld_rolls_forward_when_it_hears_of_them() {
    let world = World::start().await;
    world.frames(|_, to, frame, sent| {
        let withheld = matches!(frame, Frame::Ready(_) | Frame::Certificate(_) | Frame::Acknowledgement(_));
        if to == 3 && withheld { vec![] } else { vec![at_once(sent)] }
    });
    // All parties have promised, and the account service has heard of it.
    let path = format!("/api/v1/accounts/{}/refresh", world.account.id);
    let refreshed = world.fleet.caller(0).post(&path, &json!({})).await.good();
    assert_eq!(refreshed.body["epoch"], json!(2), "{refreshed:?}");
    let active = "SELECT MAX(epoch) FROM shares WHERE state = 'active'";
    assert_eq!((world.count(0, active).await, world.count(2, active).await), (2, 1));
    // Nor does any plan tell of it. The others go on; the one that has not heard of it takes no part.
    let token = world.token();
    world.plans(move |to, plan, _| {
        let plan = Plan { certificate: None, ..plan.clone() };
        vec![Delivery { plan: encode(&plan).into(), token: token(&plan, to) }]
    });
    world.assert_signs([1; 32], "a certificate is withheld from another party").await;
    let withheld = world.sign([2; 32], &[1, 3]).await;
    assert!(!assert_typed(&withheld, "a certificate is withheld"), "{withheld:?}");
    assert_eq!(world.count(2, active).await, 1);
    world.assert_well("a certificate is withheld").await;
    assert_eq!(world.count(2, active).await, 2);
    let signed = world.sign([3; 32], &[1, 3]).await;
    assert_eq!(signed.status, 200, "{signed:?}");
    assert_signed_by(&signed, [3; 32], &world.account.key);
}
