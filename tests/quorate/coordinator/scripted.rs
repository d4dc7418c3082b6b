//! A coordinator, which is a real one, and two parties that the test plays: it decides what they report and when.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use quorate_backends::database::Database;
use quorate_backends::queue::{Consumer, MemoryQueue, Queue};
use quorate_control_store::SessionStore;
use quorate_coordinator::{Coordinator, CoordinatorSetup};
use quorate_core::admission::PluginFacts;
use quorate_core::ban::SignedBan;
use quorate_core::codec::{Bytes, decode, encode};
use quorate_core::heartbeat::Heartbeat;
use quorate_core::identity::{SecretKey, Tag};
use quorate_core::order::{
    HashFunction, MAX_ORDER_LIFETIME, Operation, Order, OrderTerms, SignItem, Version,
};
use quorate_core::plan::Plan;
use quorate_core::report::{Outcome, Report, SignedReport};
use quorate_core::submission::Submission;
use quorate_core::{
    AccountId, Digest, KeySpec, OrderId, PartyIndex, PlanHash, PoolId, SchemeSignature, SessionId, Threshold,
};
use quorate_kit::random32;
use quorate_net::clock::{Clock, SystemClock};
use quorate_net::topics::{presence_of, queue_of};
use quorate_proto::v1::coordinator_client::CoordinatorClient;
use quorate_proto::v1::submit_event::Event;
use quorate_proto::v1::{Delivery, ReportRequest, SubmitEvent, SubmitRequest};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Channel;

use quorate_tests::in_memory::{join_key, served};

const DIGEST: Digest = Digest([5; 32]);
pub(super) const ACCOUNT: AccountId = AccountId([1; 16]);
pub(super) const SHARE_SET: PlanHash = PlanHash([1; 32]);
/// The pool of each party's process.
pub(super) const POOL: PoolId = PoolId([1; 16]);
const MESSAGE: [u8; 32] = [7; 32];

/// How long any event may take.
const EVENT_TIMEOUT: Duration = Duration::from_secs(20);

/// A coordinator, and two parties that do what the test says.
pub(super) struct ScriptedParties {
    client: CoordinatorClient<Channel>,
    originator: SecretKey,
    pub(super) parties: Vec<SecretKey>,
    /// The plans of the second party.
    plans: Box<dyn Consumer>,
    key: secp256k1::SecretKey,
    stop: CancellationToken,
    seed: [u8; 32],
    seeds: [[u8; 32]; 2],
    folder: Arc<TempDir>,
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
        share_formats: vec![1],
        presigns: true,
    };
    let (identity, own) = (party.public().0, SecretKey::from_seed(&random32()));
    let heartbeat = Heartbeat {
        identity: party.public(),
        replica: "replica".into(),
        process: POOL,
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
    pub(super) async fn start() -> Self {
        let (originator, parties) = (random32(), [random32(), random32()]);
        Self::start_on(Arc::new(tempfile::tempdir().unwrap()), originator, parties).await
    }

    /// Another coordinator on the same database, with the same parties.
    pub(super) async fn start_again(&self) -> Self {
        Self::start_on(Arc::clone(&self.folder), self.seed, self.seeds).await
    }

    async fn start_on(folder: Arc<TempDir>, seed: [u8; 32], seeds: [[u8; 32]; 2]) -> Self {
        let database = Database::sqlite(&folder.path().join("coordinator.db")).await.unwrap();
        let (queue, stop) = (Arc::new(MemoryQueue::default()), CancellationToken::new());
        let originator = SecretKey::from_seed(&seed);
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
                    queue.announce(&presence_of(&party.public()), heartbeat(party, number)).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }));
        let identities: Vec<_> = parties.iter().map(SecretKey::public).collect();
        assert!(coordinator.wait_for_plugin(DIGEST, &identities, EVENT_TIMEOUT).await);
        let key = secp256k1::SecretKey::from_byte_array(random32()).unwrap();
        Self { client, originator, parties, plans, key, stop, seed, seeds, folder }
    }

    /// Submits an order to sign [`MESSAGE`].
    pub(super) async fn submit(&mut self) -> Streaming<SubmitEvent> {
        let signing = SignItem {
            message: Bytes(MESSAGE.to_vec()),
            hash: HashFunction::None,
            path: vec![],
            merkle_root: None,
            presignatures: false,
        };
        self.submit_to(Operation::Sign(signing.into())).await
    }

    /// Submits an order on the share set [`SHARE_SET`] of the account [`ACCOUNT`].
    pub(super) async fn submit_to(&mut self, operation: Operation) -> Streaming<SubmitEvent> {
        let spec = KeySpec {
            account: ACCOUNT,
            scheme: "ecdsa-secp256k1".into(),
            protocol: "dkls23".into(),
            threshold: Threshold::new(2, 2).unwrap(),
            parties: self.parties.iter().map(SecretKey::public).collect(),
            mandatory: vec![],
        };
        let terms = OrderTerms {
            operation,
            spec,
            minimum_plugin: Version::default(),
            epoch: 1,
            share_set: Some(SHARE_SET),
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
    pub(super) async fn plan(&mut self) -> Plan {
        let delivery = tokio::time::timeout(EVENT_TIMEOUT, self.plans.next()).await.unwrap().unwrap();
        let plan = Delivery::decode(delivery.payload()).unwrap().plan;
        delivery.ack().await.unwrap();
        decode(&plan).unwrap()
    }

    /// Has a party report of a session.
    pub(super) async fn report(&mut self, by: u16, plan: &Plan, outcome: Outcome) {
        self.report_with(by, plan, outcome, vec![]).await;
    }

    /// Has a party report of a session, and of bans.
    pub(super) async fn report_with(&mut self, by: u16, plan: &Plan, outcome: Outcome, bans: Vec<SignedBan>) {
        let order: Order = decode(plan.order.bytes()).unwrap();
        let by = PartyIndex::try_from(by).unwrap();
        let report = Report::new(plan.session_id(), order.id, by, DIGEST, outcome);
        let signed = report.with_bans(bans).sign(&self.parties[usize::from(by.number()) - 1]);
        self.client.report(ReportRequest { report: encode(&signed).into() }).await.unwrap();
    }

    /// The signature that the order asks for.
    pub(super) fn signed(&self) -> Outcome {
        self.signed_digests(&[MESSAGE])
    }

    /// Signatures of these digests.
    pub(super) fn signed_digests(&self, digests: &[[u8; 32]]) -> Outcome {
        let sign = |digest: &[u8; 32]| {
            let message = secp256k1::Message::from_digest(*digest);
            let signature = secp256k1::Secp256k1::new().sign_ecdsa_recoverable(message, &self.key);
            let (recovery_id, bytes) = signature.serialize_compact();
            let recovery_id = u8::try_from(i32::from(recovery_id)).unwrap();
            SchemeSignature { bytes, recovery_id: Some(recovery_id) }
        };
        Outcome::Signed(digests.iter().map(sign).collect())
    }
}

/// What a caller was told until the end.
pub(super) struct Answer {
    /// The session that it heard of last.
    pub(super) session: SessionId,
    pub(super) last_report: Option<SignedReport>,
    pub(super) failure_code: Option<String>,
}

pub(super) async fn answer(events: Streaming<SubmitEvent>) -> Answer {
    let (session, last_report, failure_code) = read(events).await;
    let session = session.expect("no session was begun");
    Answer { session, last_report, failure_code }
}

/// The code with which an order ends that no session is begun for.
pub(super) async fn failure_without_session(events: Streaming<SubmitEvent>) -> Option<String> {
    let (session, _, failure_code) = read(events).await;
    assert_eq!(session, None, "a session was begun");
    failure_code
}

async fn read(
    mut events: Streaming<SubmitEvent>,
) -> (Option<SessionId>, Option<SignedReport>, Option<String>) {
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
    let session = session.map(|session| SessionId(session.as_ref().try_into().unwrap()));
    (session, last_report, failure_code)
}
