//! Reports that arrive after a coordinator has cancelled their session. The coordinator is a real one; the test plays the
//! parties, so that it decides what they report and when.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use quorate_backends::database::Database;
use quorate_backends::queue::{Consumer, MemoryQueue, Queue};
use quorate_control_store::SessionStore;
use quorate_coordinator::{Coordinator, CoordinatorSetup};
use quorate_core::abort::AbortCode;
use quorate_core::admission::PluginFacts;
use quorate_core::codec::{Bytes, decode, encode};
use quorate_core::heartbeat::Heartbeat;
use quorate_core::identity::{SecretKey, Tag};
use quorate_core::order::{
    HashFunction, MAX_ORDER_LIFETIME, Operation, Order, OrderTerms, SignItem, Version,
};
use quorate_core::plan::Plan;
use quorate_core::report::{Outcome, RefusedCode, Report, SignedReport};
use quorate_core::submission::Submission;
use quorate_core::{
    AccountId, Digest, KeySpec, OrderId, PartyIndex, PlanHash, SchemeSignature, SessionId, Threshold,
};
use quorate_kit::random32;
use quorate_net::clock::{Clock, SystemClock};
use quorate_net::topics::{PRESENCE, queue_of};
use quorate_proto::v1::coordinator_client::CoordinatorClient;
use quorate_proto::v1::submit_event::Event;
use quorate_proto::v1::{Delivery, ReportRequest, SubmitEvent, SubmitRequest};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Channel;

use quorate_tests::in_memory::{join_key, served};

const DIGEST: Digest = Digest([5; 32]);
const MESSAGE: [u8; 32] = [7; 32];

/// How long any event may take.
const EVENT_TIMEOUT: Duration = Duration::from_secs(20);

/// A coordinator, and two parties that do what the test says.
struct ScriptedParties {
    client: CoordinatorClient<Channel>,
    originator: SecretKey,
    parties: Vec<SecretKey>,
    /// The plans of the second party.
    plans: Box<dyn Consumer>,
    key: secp256k1::SecretKey,
    stop: CancellationToken,
    _folder: TempDir,
}

impl Drop for ScriptedParties {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The heartbeat of a party that has the plugin.
fn heartbeat(party: &SecretKey, number: u64) -> Vec<u8> {
    let facts = PluginFacts {
        digest: DIGEST,
        protocol: "dkls23".into(),
        version: Version::default(),
        schemes: vec!["ecdsa-secp256k1".into()],
        max_parties: 16,
        open_signings: Some(16),
    };
    let (identity, own) = (party.public().0, SecretKey::from_seed(&random32()));
    let heartbeat = Heartbeat {
        identity: party.public(),
        replica: "replica".into(),
        process: [1; 16],
        number,
        at: SystemClock.millis(),
        key_name: own.public(),
        key_proof: own.sign(Tag::KeyName, &identity),
        trouble: None,
        plugins: vec![facts],
    };
    encode(&heartbeat.sign(party))
}

impl ScriptedParties {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::sqlite(&folder.path().join("coordinator.db")).await.unwrap();
        let (queue, stop) = (Arc::new(MemoryQueue::default()), CancellationToken::new());
        let originator = SecretKey::from_seed(&random32());
        let seeds = [random32(), random32()];
        let parties: Vec<SecretKey> = seeds.iter().map(SecretKey::from_seed).collect();
        let coordinator = Coordinator::new(CoordinatorSetup {
            store: SessionStore::open(database).await.unwrap(),
            queue: Arc::clone(&queue) as Arc<dyn Queue>,
            originators: vec![originator.public()],
            parties: parties.iter().map(SecretKey::public).collect(),
            clock: Arc::new(SystemClock),
            key: join_key(),
            require_distinct_master_keys: false,
        });
        tokio::spawn(Arc::clone(&coordinator).work(stop.clone(), Duration::ZERO));
        let client = CoordinatorClient::new(served(quorate_coordinator::service(Arc::clone(&coordinator))));
        let plans = queue.consume(&queue_of(&parties[1].public()), 8).await.unwrap();
        let beating: Vec<SecretKey> = seeds.iter().map(SecretKey::from_seed).collect();
        let stopped = stop.clone();
        tokio::spawn(stopped.run_until_cancelled_owned(async move {
            for number in 1.. {
                for party in &beating {
                    queue.announce(PRESENCE, heartbeat(party, number)).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }));
        let identities: Vec<_> = parties.iter().map(SecretKey::public).collect();
        assert!(coordinator.wait_for_plugin(DIGEST, &identities, EVENT_TIMEOUT).await);
        let key = secp256k1::SecretKey::from_byte_array(random32()).unwrap();
        Self { client, originator, parties, plans, key, stop, _folder: folder }
    }

    /// Submits an order to sign [`MESSAGE`].
    async fn submit(&mut self) -> Streaming<SubmitEvent> {
        let signing = SignItem {
            message: Bytes(MESSAGE.to_vec()),
            hash: HashFunction::None,
            path: vec![],
            tweak: None,
            presignatures: false,
        };
        let spec = KeySpec {
            account: AccountId([1; 16]),
            scheme: "ecdsa-secp256k1".into(),
            protocol: "dkls23".into(),
            threshold: Threshold::new(2, 2).unwrap(),
            parties: self.parties.iter().map(SecretKey::public).collect(),
            mandatory: vec![],
        };
        let terms = OrderTerms {
            operation: Operation::Sign(signing.into()),
            spec,
            minimum_plugin: Version::default(),
            epoch: 1,
            share_set: Some(PlanHash([1; 32])),
            public_key: self.key.public_key(&secp256k1::Secp256k1::new()).serialize().to_vec(),
            recipient: None,
        };
        let order = Order::new(OrderId(random32()), terms, SystemClock.seconds(), MAX_ORDER_LIFETIME);
        let submission = Submission {
            order: order.sign(&self.originator),
            time_limit_ms: 20_000,
            signers: vec![],
            certificate: None,
            aborts: vec![],
            chain_code: None,
            resubmitted: false,
        };
        let request = SubmitRequest { submission: encode(&submission.sign(&self.originator)).into() };
        self.client.submit(request).await.unwrap().into_inner()
    }

    /// The next plan that the second party is given.
    async fn plan(&mut self) -> Plan {
        let delivery = tokio::time::timeout(EVENT_TIMEOUT, self.plans.next()).await.unwrap().unwrap();
        let plan = Delivery::decode(delivery.payload()).unwrap().plan;
        delivery.ack().await.unwrap();
        decode(&plan).unwrap()
    }

    /// Has a party report of a session.
    async fn report(&mut self, by: u16, plan: &Plan, outcome: Outcome) {
        let order: Order = decode(plan.order.bytes()).unwrap();
        let by = PartyIndex::try_from(by).unwrap();
        let report = Report::new(plan.session_id(), order.id, by, DIGEST, outcome);
        let signed = report.sign(&self.parties[usize::from(by.number()) - 1]);
        self.client.report(ReportRequest { report: encode(&signed).into() }).await.unwrap();
    }

    /// The signature that the order asks for.
    fn signed(&self) -> Outcome {
        let message = secp256k1::Message::from_digest(MESSAGE);
        let signature = secp256k1::Secp256k1::new().sign_ecdsa_recoverable(message, &self.key);
        let (recovery_id, bytes) = signature.serialize_compact();
        let recovery_id = u8::try_from(i32::from(recovery_id)).unwrap();
        Outcome::Signed(vec![SchemeSignature { bytes, recovery_id: Some(recovery_id) }])
    }
}

fn aborted() -> Outcome {
    Outcome::Aborted {
        code: AbortCode::PeerAborted,
        plugin_code: None,
        culprits: vec![],
        reason: "party 2 has left".into(),
        notice: None,
    }
}

fn exhausted() -> Outcome {
    Outcome::Refused {
        culprits: vec![],
        code: RefusedCode::OrderExhausted,
        reason: "it has succeeded".into(),
        notice: None,
    }
}

/// What a caller was told until the end.
struct Answer {
    /// The session that it heard of last.
    session: SessionId,
    last_report: Option<SignedReport>,
    failure_code: Option<String>,
}

async fn answer(mut events: Streaming<SubmitEvent>) -> Answer {
    let (mut session, mut last_report, mut failure_code) = (None, None, None);
    let reading = async {
        while let Some(event) = events.message().await.unwrap() {
            match event.event.unwrap() {
                Event::Started(started) => session = Some(started.session),
                Event::Report(report) => last_report = Some(decode::<SignedReport>(&report).unwrap()),
                Event::Ended(ended) => failure_code = Some(ended.code),
            }
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, reading).await.expect("the order does not end");
    let session = session.expect("no session was begun");
    Answer { session: SessionId(session.as_ref().try_into().unwrap()), last_report, failure_code }
}

#[tokio::test]
async fn a_signature_that_is_reported_after_its_session_was_cancelled_is_answered() {
    // At once, and while the coordinator waits for a late report (LATE_REPORTS_DURATION, 1 s).
    for delay in [Duration::ZERO, Duration::from_millis(700)] {
        let mut scripted = ScriptedParties::start().await;
        let events = scripted.submit().await;
        let first = scripted.plan().await;
        // The second party has signed, and its report is still on its way.
        scripted.report(1, &first, aborted()).await;
        let second = scripted.plan().await;
        scripted.report(2, &second, exhausted()).await;
        tokio::time::sleep(delay).await;
        let signed = scripted.signed();
        scripted.report(2, &first, signed.clone()).await;
        let told = answer(events).await;
        assert_eq!((told.session, told.failure_code), (first.session_id(), None), "{delay:?}");
        assert_eq!(told.last_report.unwrap().report.outcome, signed, "{delay:?}");
    }
}

#[tokio::test]
async fn a_signature_ends_the_session_that_was_begun_because_its_report_was_late() {
    let mut scripted = ScriptedParties::start().await;
    let events = scripted.submit().await;
    let first = scripted.plan().await;
    scripted.report(1, &first, aborted()).await;
    // The parties of the second session say nothing.
    let second = scripted.plan().await;
    let signed = scripted.signed();
    scripted.report(2, &first, signed.clone()).await;
    let told = answer(events).await;
    assert_eq!((told.session, told.failure_code), (first.session_id(), None));
    assert_eq!(told.last_report.unwrap().report.outcome, signed);
    assert!(SystemClock.millis() < second.deadline, "the second session was waited for");
}

#[tokio::test]
async fn an_order_that_its_parties_run_no_more_is_answered_with_a_code_that_says_try_again() {
    let mut scripted = ScriptedParties::start().await;
    let events = scripted.submit().await;
    for _ in 0..3 {
        // The other party waits for the one that refuses, and says nothing.
        let plan = scripted.plan().await;
        scripted.report(2, &plan, exhausted()).await;
    }
    let told = answer(events).await;
    assert_eq!(told.failure_code.as_deref(), Some("unavailable"));
    assert!(told.last_report.is_some());
}
