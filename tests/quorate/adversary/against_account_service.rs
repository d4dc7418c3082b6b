//! A coordinator that lies: the account service believes only what proves itself.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::Stream;
use quorate_account::{
    AccountService, AccountSetup, ItemText, PresignatureMarks, RequestIds, SignRequest, TimeLimits,
};
use quorate_backends::database::Database;
use quorate_control_store::{Account, AccountState, AccountStore, OpenOrder, RowKeys};
use quorate_core::certificate::{Activation, Certificate, KeyOutputs, Ready};
use quorate_core::code::Code;
use quorate_core::codec::{Bytes, decode, encode};
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_core::order::{Operation, Order, OrderTerms, Version};
use quorate_core::report::{Outcome, Report};
use quorate_core::submission::{SignedSubmission, Submission};
use quorate_core::{
    AccountId, Digest, ExecutionId, KeySpec, OrderId, PartyIndex, PlanHash, SchemeSignature, SessionId,
    Threshold, UnixMillis,
};
use quorate_kit::random32;
use quorate_net::clock::{Clock, SystemClock};
use quorate_proto::v1::coordinator_server::{Coordinator, CoordinatorServer};
use quorate_proto::v1::submit_event::Event;
use quorate_proto::v1::{
    OrderRequest, OrderState, PartiesRequest, PartiesResponse, ReportRequest, ReportResponse, SessionRequest,
    SessionState, Started, SubmitEvent, SubmitRequest,
};
use tempfile::TempDir;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use quorate_tests::in_memory::served;

pub(super) const ACCOUNT: AccountId = AccountId([1; 16]);
const SESSION: SessionId = SessionId([2; 32]);

/// Its answers.
#[derive(Clone, Default)]
struct Liar {
    session: Arc<Mutex<Option<SessionState>>>,
    order: Arc<Mutex<OrderState>>,
    /// Makes the reports of a submitted order.
    reports: Arc<Mutex<Vec<Lie>>>,
}

type Lie = Box<dyn Fn(&Order) -> Vec<u8> + Send>;

#[tonic::async_trait]
impl Coordinator for Liar {
    type SubmitStream = Pin<Box<dyn Stream<Item = Result<SubmitEvent, Status>> + Send>>;

    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<Self::SubmitStream>, Status> {
        let signed: SignedSubmission = decode(&request.into_inner().submission).unwrap();
        let submission: Submission = decode(signed.bytes()).unwrap();
        let order: Order = decode(submission.order.bytes()).unwrap();
        let session = SESSION.as_bytes().to_vec().into();
        let started =
            Started { session, signers: vec![1, 2], digest: vec![3; 32].into(), presignatures_left: None };
        let mut events = vec![Event::Started(started)];
        for lie in self.reports.lock().unwrap().iter() {
            events.push(Event::Report(lie(&order).into()));
        }
        let events =
            futures::stream::iter(events.into_iter().map(|event| Ok(SubmitEvent { event: Some(event) })));
        // And then nothing, for ever.
        Ok(Response::new(Box::pin(futures::StreamExt::chain(events, futures::stream::pending()))))
    }

    async fn session(&self, _: Request<SessionRequest>) -> Result<Response<SessionState>, Status> {
        let state = self.session.lock().unwrap().clone();
        state.map(Response::new).ok_or_else(|| Status::not_found("nothing"))
    }

    async fn order(&self, _: Request<OrderRequest>) -> Result<Response<OrderState>, Status> {
        Ok(Response::new(self.order.lock().unwrap().clone()))
    }

    async fn report(&self, _: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        Ok(Response::new(ReportResponse {}))
    }

    async fn parties(&self, _: Request<PartiesRequest>) -> Result<Response<PartiesResponse>, Status> {
        Ok(Response::new(PartiesResponse { parties: vec![] }))
    }
}

fn party(index: u16) -> PartyIndex {
    PartyIndex::try_from(index).unwrap()
}

pub(super) fn publics(keys: &[SecretKey]) -> Vec<PublicKey> {
    keys.iter().map(SecretKey::public).collect()
}

/// A key, and a certificate of these parties for it.
pub(super) fn certified(keys: &[SecretKey], epoch: u32) -> (Certificate, KeyOutputs) {
    let secp = secp256k1::Secp256k1::new();
    let secret = secp256k1::SecretKey::from_byte_array(random32()).unwrap();
    let key = KeyOutputs {
        scheme: "ecdsa-secp256k1".into(),
        public_key: Bytes(secret.public_key(&secp).serialize().to_vec()),
        chain_code: None,
        verifying_shares: vec![],
    };
    let activation = Activation {
        plan: PlanHash([1; 32]),
        execution: ExecutionId([2; 32]),
        account: ACCOUNT,
        epoch,
        threshold: Threshold::new(2, 2).unwrap(),
        digest: Digest([3; 32]),
        outputs: key.hash(),
    };
    let readies: Vec<Ready> =
        PartyIndex::all(2).zip(keys).map(|(p, key)| Ready::sign(activation.clone(), p, key)).collect();
    (Certificate::of(&readies, &publics(keys)).unwrap(), key)
}

pub(super) struct World {
    liar: Liar,
    pub(super) database: Database,
    pub(super) store: AccountStore,
    pub(super) service: AccountService,
    pub(super) parties: Vec<SecretKey>,
    _folder: TempDir,
}

pub(super) fn spec(parties: &[SecretKey]) -> KeySpec {
    KeySpec {
        account: ACCOUNT,
        scheme: "ecdsa-secp256k1".into(),
        protocol: "dkls23".into(),
        threshold: Threshold::new(2, 2).unwrap(),
        parties: publics(parties),
        mandatory: vec![],
    }
}

/// An account service with one account, whose only coordinator lies.
pub(super) async fn world() -> World {
    world_with_former(vec![]).await
}

/// The same, with identities of parties that are no longer in use.
pub(super) async fn world_with_former(former_parties: Vec<PublicKey>) -> World {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::sqlite(&folder.path().join("account.db")).await.unwrap();
    let store =
        AccountStore::open(database.clone(), RowKeys::new(Zeroizing::new(random32()), vec![])).await.unwrap();
    let parties: Vec<SecretKey> = (0..2).map(|_| SecretKey::from_seed(&random32())).collect();
    let account = Account {
        spec: spec(&parties),
        user_id: "user123".into(),
        state: AccountState::Creating,
        user_party: None,
        claim_hash: None,
        open: vec![],
        created: UnixMillis(0),
    };
    store.create_account(&account).await.unwrap();
    let (certificate, key) = certified(&parties, 1);
    store.activate_account(&account.spec, &certificate, &key).await.unwrap();
    let liar = Liar::default();
    let router =
        tonic::service::Routes::new(CoordinatorServer::new(liar.clone())).prepare().into_axum_router();
    let service = AccountService::new(AccountSetup {
        store: store.clone(),
        coordinators: served(router).into(),
        originator: Zeroizing::new(random32()),
        originators: vec![],
        parties: publics(&parties),
        former_parties,
        minimum_plugins: std::collections::BTreeMap::new(),
        clock: Arc::new(SystemClock),
        user_party: None,
        limits: TimeLimits { sign: Duration::from_millis(300), shares_per_party: Duration::from_millis(300) },
        presignatures: PresignatureMarks { low: 0, high: 0 },
    });
    World { liar, database, store, service, parties, _folder: folder }
}

#[tokio::test]
async fn a_refresh_that_nobody_ordered_changes_no_account() {
    let world = world().await;
    let before = world.service.account(ACCOUNT).await.unwrap();
    // An order, parties and a certificate of its own making, all in perfect order.
    let (stranger, keys): (SecretKey, Vec<SecretKey>) =
        (SecretKey::from_seed(&random32()), (0..2).map(|_| SecretKey::from_seed(&random32())).collect());
    let (certificate, key) = certified(&keys, 2);
    let terms = OrderTerms {
        operation: Operation::Refresh,
        spec: spec(&keys),
        minimum_plugin: Version::default(),
        epoch: 1,
        share_set: Some(PlanHash([1; 32])),
        public_key: key.public_key.0.clone(),
        recipient: None,
    };
    let order = Order::new(OrderId(random32()), terms, SystemClock.seconds(), Duration::from_secs(600));
    let outcome = Outcome::Activated { certificate, key };
    let report = Report::new(SESSION, order.id, party(1), Digest([3; 32]), outcome);
    *world.liar.session.lock().unwrap() = Some(SessionState {
        session: SESSION.as_bytes().to_vec().into(),
        account: ACCOUNT.as_bytes().to_vec().into(),
        order: encode(&order.sign(&stranger)).into(),
        signers: vec![1, 2],
        digest: vec![3; 32].into(),
        status: 2,
        reports: vec![encode(&report.sign(&keys[0])).into()],
        ..SessionState::default()
    });
    assert_eq!(world.service.session(SESSION).await.unwrap_err().code, Code::Internal);
    *world.liar.session.lock().unwrap() = None;
    assert_eq!(world.service.account(ACCOUNT).await.unwrap(), before);
}

#[tokio::test]
async fn an_order_of_which_no_session_was_made_is_closed_when_it_is_over() {
    let world = world().await;
    let open = async || world.store.account(ACCOUNT).await.unwrap().unwrap().open;
    let now = SystemClock.millis();
    let [over, runs] = [now - Duration::from_millis(1), now + Duration::from_secs(600)]
        .map(|expires| OpenOrder { id: OrderId(random32()), expires });
    for order in [over, runs] {
        world.store.open_order(ACCOUNT, order).await.unwrap();
    }
    world.liar.order.lock().unwrap().in_flight = true;
    world.service.account(ACCOUNT).await.unwrap();
    assert_eq!(open().await, [over, runs], "an order that is in hand was closed");
    world.liar.order.lock().unwrap().in_flight = false;
    world.service.account(ACCOUNT).await.unwrap();
    assert_eq!(open().await, [runs]);
    // An account that has a key keeps it; one whose keygen was never begun has failed.
    let state = async |id| world.store.account(id).await.unwrap().unwrap().state;
    assert!(matches!(state(ACCOUNT).await, AccountState::Active { .. }));
    let (creating, id) = (world.store.account(ACCOUNT).await.unwrap().unwrap(), AccountId([8; 16]));
    let spec = KeySpec { account: id, ..creating.spec.clone() };
    let creating = Account { spec, state: AccountState::Creating, open: vec![runs], ..creating };
    world.store.create_account(&creating).await.unwrap();
    world.service.account(id).await.unwrap();
    assert_eq!(state(id).await, AccountState::Creating);
    world.store.open_order(id, OpenOrder { expires: now - Duration::from_millis(1), ..runs }).await.unwrap();
    world.service.account(id).await.unwrap();
    assert_eq!(state(id).await, AccountState::Failed);
}

#[tokio::test]
async fn neither_invented_signatures_nor_silence_hold_up_a_request_for_long() {
    let world = world().await;
    let garbage = Outcome::Signed(vec![SchemeSignature { bytes: [1; 64], recovery_id: Some(0) }]);
    let malicious = SecretKey::from_seed(&random32());
    let World { liar, service, parties, .. } = world;
    let one = parties.into_iter().next().unwrap();
    for (by, key) in [(1, one), (2, malicious)] {
        let outcome = garbage.clone();
        let lie = move |order: &Order| {
            let outcome = outcome.clone();
            let report = Report::new(SESSION, order.id, party(by), Digest([3; 32]), outcome);
            encode(&report.sign(&key))
        };
        liar.reports.lock().unwrap().push(Box::new(lie));
    }
    let request = SignRequest::read(&ItemText::digest("07".repeat(32)), None).unwrap();
    let ids = RequestIds::for_account(ACCOUNT).unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(10), service.sign(ids, request)).await;
    let problem = waited.expect("it waits for ever").unwrap_err();
    assert_eq!((problem.code, problem.session), (Code::DeadlinePassed, Some(SESSION)));
}

#[tokio::test]
async fn requests_beyond_what_can_be_worked_on_are_told_to_come_back_before_anything_is_begun() {
    let world = world().await;
    let request = SignRequest::read(&ItemText::digest("07".repeat(32)), None).unwrap();
    let sign = || world.service.sign(RequestIds::for_account(ACCOUNT).unwrap(), request.clone());
    let ended = futures::future::join_all((0..300).map(|_| sign())).await;
    let codes: Vec<Code> = ended.into_iter().map(|ended| ended.unwrap_err().code).collect();
    let count = |code| codes.iter().filter(|&&c| c == code).count();
    assert_eq!((count(Code::DeadlinePassed), count(Code::Overloaded)), (256, 44));
}
