//! Golden bytes: the exact encoding of everything that is signed, sealed, stored or sent between roles.
//!
//! Keys, identifiers and seeds are fixed, so every encoding below has one value. `golden.txt` holds these values in
//! hexadecimal, a line for each. A change of an encoding breaks parties and databases that run: it needs a decision
//! record, and a new version where old bytes must still be read.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quorate_core::abort::{Abort, AbortCode, AbortNotice, SignedAbort};
use quorate_core::acknowledgement::{Acknowledgement, ErasureCertificate};
use quorate_core::admission::PluginFacts;
use quorate_core::ban::{Ban, BanExport, SignedBan};
use quorate_core::certificate::{Activation, Certificate, KeyOutputs, Ready};
use quorate_core::codec::{Bytes, Wire, decode, encode};
use quorate_core::heartbeat::{Heartbeat, Trouble};
use quorate_core::identity::{PublicKey, SecretKey, Tag, group_id};
use quorate_core::order::{
    Authorisation, Authorisations, HashFunction, Operation, Order, OrderTerms, Repair, RepairTarget,
    SignItem, SignItems, SignedOrder,
};
use quorate_core::plan::Plan;
use quorate_core::report::{Outcome, RefusedCode, Report};
use quorate_core::sealed_box::RecipientKey;
use quorate_core::sealing_key::SealingKey;
use quorate_core::session::{Effect, Frame, Session, SessionTerms, To, WaitingRoom};
use quorate_core::share_grant::{GrantHeader, NewShareTerms, Purpose, ShareGrant};
use quorate_core::submission::Submission;
use quorate_core::user_share::{ShareId, UserShare};
use quorate_core::{
    AccountId, DatabaseId, Digest, ExecutionId, KeyRecord, KeySpec, OrderId, PartyIndex, PlanHash, PoolId,
    PreparedId, SchemeSignature, SealingKeyId, SessionId, Threshold, UnixMillis, UnixSeconds,
};
use zeroize::Zeroizing;

const FIXTURES: &str = include_str!("golden.txt");
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const SHARE_SET: PlanHash = PlanHash([8; 32]);

/// The encodings that a test has made, by name.
#[derive(Default)]
struct Golden(BTreeMap<&'static str, Vec<u8>>);

impl Golden {
    fn add(&mut self, name: &'static str, bytes: impl Into<Vec<u8>>) {
        assert!(self.0.insert(name, bytes.into()).is_none(), "two encodings are called {name}");
    }

    /// Adds the encoding of a value, and checks that it decodes to the value again.
    fn value<T: Wire + PartialEq + std::fmt::Debug>(&mut self, name: &'static str, value: &T) {
        let bytes = encode(value);
        assert_eq!(decode::<T>(&bytes).as_ref(), Ok(value), "{name}");
        self.add(name, bytes);
    }

    /// Compares with the lines of `golden.txt` that have this prefix.
    fn check(&self, prefix: &str) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let made: Vec<String> = self.0.iter().map(|(name, bytes)| format!("{name} {}", hex(bytes))).collect();
        let kept: Vec<&str> = FIXTURES.lines().filter(|line| line.starts_with(prefix)).collect();
        assert!(made == kept, "golden.txt should have\n{}\n", made.join("\n"));
    }
}

fn party(index: u16) -> PartyIndex {
    PartyIndex::try_from(index).unwrap()
}

fn identity(index: u16) -> SecretKey {
    SecretKey::from_seed(&[u8::try_from(index).unwrap(); 32])
}

fn parties() -> Vec<PublicKey> {
    (1..=3).map(|index| identity(index).public()).collect()
}

fn originator() -> SecretKey {
    SecretKey::from_seed(&[200; 32])
}

fn item() -> SignItem {
    SignItem {
        message: Bytes(b"message".to_vec()),
        hash: HashFunction::Keccak256,
        path: vec![0, 7],
        merkle_root: Some([11; 32]),
        presignatures: false,
    }
}

fn second_item() -> SignItem {
    SignItem { path: vec![], merkle_root: None, presignatures: true, ..item() }
}

fn items() -> SignItems {
    SignItems::new(vec![item(), second_item()]).unwrap()
}

fn spec() -> KeySpec {
    KeySpec {
        account: AccountId([7; 16]),
        scheme: "ecdsa-secp256k1".into(),
        protocol: "dkls23".into(),
        threshold: Threshold::new(2, 3).unwrap(),
        parties: parties(),
        mandatory: vec![party(3)],
    }
}

fn order(operation: Operation) -> Order {
    let keygen = operation == Operation::Keygen;
    let terms = OrderTerms {
        spec: spec(),
        minimum_plugin: "1.2.3".parse().unwrap(),
        epoch: u32::from(!keygen),
        share_set: (!keygen).then_some(SHARE_SET),
        public_key: if keygen { vec![] } else { vec![2; 33] },
        recipient: operation.makes_shares().then_some([12; 32]),
        operation,
    };
    Order::new(OrderId([3; 32]), terms, NOW, Duration::from_secs(600))
}

fn sign_order() -> SignedOrder {
    order(Operation::Sign(item().into())).sign(&originator())
}

/// An order in which every field is filled.
fn full_order() -> Order {
    let authorisation =
        |signature| Authorisation { algorithm: "EdDSA".into(), key: Bytes(vec![14; 32]), signature };
    let keys = vec![authorisation(Some(Bytes(vec![15; 64]))), authorisation(None)];
    let mut order = order(Operation::Refresh);
    order.claim_hash = Some([16; 32]);
    order.sealing_key = Some(SealingKeyId([17; 16]));
    order.authorisations = Some(Authorisations { required: 1, keys });
    order.policy = Some(Digest([18; 32]));
    order
}

fn repair() -> Repair {
    Repair {
        targets: vec![RepairTarget { party: party(2), former_identity: identity(9).public() }],
        certificate: certificate(),
        outputs: outputs(),
    }
}

fn acknowledgement(index: u16) -> Acknowledgement {
    Acknowledgement::sign(PlanHash([1; 32]), party(index), &identity(index))
}

fn erasure() -> ErasureCertificate {
    let words = [1, 2, 3].map(acknowledgement);
    let parties: Vec<PublicKey> = [1, 2, 3].map(|index| identity(index).public()).into();
    ErasureCertificate::of(words[0].plan, &words, &parties).unwrap()
}

fn ban() -> SignedBan {
    let (account, session) = (AccountId([7; 16]), SessionId([1; 32]));
    Ban { account, share_set: Some(SHARE_SET), by: party(1), banned: party(3), session }.sign(&identity(1))
}

fn outputs() -> KeyOutputs {
    KeyOutputs {
        scheme: "ecdsa-secp256k1".into(),
        public_key: Bytes(vec![2; 33]),
        chain_code: Some([13; 32]),
        verifying_shares: (1..=3).map(|index| Bytes(vec![index; 33])).collect(),
    }
}

fn activation() -> Activation {
    Activation {
        plan: PlanHash([1; 32]),
        execution: ExecutionId([2; 32]),
        account: AccountId([7; 16]),
        epoch: 1,
        threshold: Threshold::new(2, 3).unwrap(),
        digest: Digest([5; 32]),
        outputs: outputs().hash(),
    }
}

fn ready(index: u16) -> Ready {
    Ready::sign(activation(), party(index), &identity(index))
}

fn certificate() -> Certificate {
    Certificate::of(&[ready(1), ready(2), ready(3)], &parties()).unwrap()
}

fn notice() -> SignedAbort {
    AbortNotice { plan: PlanHash([1; 32]), by: party(2), code: AbortCode::Timeout }.sign(&identity(2))
}

fn plan() -> Plan {
    Plan {
        order: sign_order(),
        signers: vec![party(1), party(3)],
        digest: Digest([5; 32]),
        pools: vec![PoolId([19; 16]), PoolId([20; 16])],
        prepared: vec![Some(PreparedId([21; 32])), None],
        helpers: vec![party(1), party(3)],
        certificate: Some(certificate()),
        aborts: vec![notice()],
        erasure: Some(erasure()),
        bans: vec![ban()],
        nonce: [6; 32],
        deadline: (NOW + Duration::from_secs(10)).into(),
    }
}

#[test]
fn orders_and_plans_keep_their_encoding() {
    let mut golden = Golden::default();
    golden.value("order.keygen", &order(Operation::Keygen));
    golden.value("order.refresh", &order(Operation::Refresh));
    golden.value("order.sign", &order(Operation::Sign(item().into())));
    golden.value("order.sign-items", &order(Operation::Sign(items())));
    golden.value("order.full", &full_order());
    golden.value("order.presign", &Operation::Presign { at_most: 8 });
    golden.value("order.auxiliary", &Operation::Auxiliary { at_most: 1 });
    golden.value("order.prepare", &Operation::Prepare { at_most: 4 });
    golden.value("order.repair", &Operation::Repair(repair()));
    golden.value("order.signed", &sign_order());
    for (name, hash) in [
        ("order.hash-none", HashFunction::None),
        ("order.hash-sha256", HashFunction::Sha256),
        ("order.hash-sha256d", HashFunction::Sha256d),
    ] {
        golden.value(name, &hash);
    }
    golden.value("order.plan", &plan());
    golden.add("order.plan-hash", *plan().hash().as_bytes());
    golden.add("order.session-id", *plan().session_id().as_bytes());
    golden.add("order.group-id", *group_id(&parties()).as_bytes());
    let submission = Submission {
        order: sign_order(),
        time_limit_ms: 10_000,
        signers: vec![party(1)],
        certificate: Some(certificate()),
        chain_code: Some([13; 32]),
        aborts: vec![notice()],
        resubmitted: true,
    };
    golden.value("order.submission", &submission);
    golden.value("order.submission-signed", &submission.sign(&originator()));
    golden.check("order.");
}

#[test]
fn promises_keep_their_encoding() {
    let mut golden = Golden::default();
    golden.value("promise.outputs", &outputs());
    golden.add("promise.outputs-hash", *outputs().hash().as_bytes());
    golden.value("promise.ready", &ready(1));
    golden.value("promise.certificate", &certificate());
    golden.value("promise.abort-notice", &notice());
    golden.value("promise.acknowledgement", &acknowledgement(1));
    golden.value("promise.erasure", &erasure());
    golden.value("promise.ban", &ban());
    let export = BanExport { by: identity(1).public(), to: identity(2).public(), at: NOW, bans: vec![ban()] };
    golden.value("promise.ban-export", &export.sign(&identity(1)));
    let written_by = "1.2.3".parse().unwrap();
    let facts = KeyRecord { spec: spec(), epoch: 1, key: outputs(), written_by, share_format: 2 };
    golden.value("promise.sealed-facts", &(facts, vec!["share".to_owned(), "other".to_owned()]));
    golden.check("promise.");
}

fn heartbeat() -> Heartbeat {
    let plugin = PluginFacts {
        digest: Digest([5; 32]),
        protocol: "dkls23".into(),
        version: "1.2.3".parse().unwrap(),
        schemes: vec!["ecdsa-secp256k1".into()],
        max_parties: 16,
        open_signings: Some(16),
        share_formats: vec![1, 2],
        presigns: true,
    };
    Heartbeat {
        identity: identity(1).public(),
        replica: "replica".into(),
        process: PoolId([22; 16]),
        number: 23,
        at: NOW.into(),
        key_name: identity(4).public(),
        key_proof: identity(4).sign(Tag::KeyName, &identity(1).public().0),
        trouble: Some(Trouble::Store),
        plugins: vec![plugin],
    }
}

fn report(outcome: Outcome) -> Report {
    Report::new(SessionId([1; 32]), OrderId([3; 32]), party(1), Digest([5; 32]), outcome)
}

#[test]
fn reports_keep_their_encoding() {
    let mut golden = Golden::default();
    let aborted = |notice| Outcome::Aborted {
        code: AbortCode::PeerFault,
        plugin_code: Some(258),
        culprits: vec![party(2)],
        reason: "why".into(),
        notice,
    };
    for (name, outcome) in [
        (
            "report.signed",
            Outcome::Signed(vec![
                SchemeSignature { bytes: [4; 64], recovery_id: Some(1) },
                SchemeSignature { bytes: [5; 64], recovery_id: None },
            ]),
        ),
        (
            "report.prepared",
            Outcome::Prepared { execution: ExecutionId([5; 32]), pool: PoolId([6; 16]), count: 3 },
        ),
        ("report.activated", Outcome::Activated { certificate: certificate(), key: outputs() }),
        ("report.promised", Outcome::Promised { ready: ready(1), key: outputs() }),
        ("report.aborted", aborted(None)),
        ("report.aborted-with-notice", aborted(Some(notice()))),
        (
            "report.refused",
            Outcome::Refused {
                culprits: vec![party(3)],
                code: RefusedCode::Banned,
                reason: "for ever".into(),
                notice: None,
            },
        ),
        (
            "report.refused-with-notice",
            Outcome::Refused {
                culprits: vec![],
                code: RefusedCode::Share,
                reason: "why".into(),
                notice: Some(notice()),
            },
        ),
    ] {
        golden.value(name, &report(outcome).sign(&identity(1)));
    }
    let full = Report {
        acknowledgements: vec![acknowledgement(1)],
        bans: vec![ban()],
        ..report(Outcome::Prepared { execution: ExecutionId([5; 32]), pool: PoolId([6; 16]), count: 3 })
    };
    golden.value("report.with-statements", &full.sign(&identity(1)));
    golden.value("report.heartbeat", &heartbeat().sign(&identity(1)));
    golden.value("report.troubles", &vec![Trouble::Store, Trouble::Router, Trouble::Clock, Trouble::SetBack]);
    let codes: Vec<AbortCode> = vec![
        AbortCode::Timeout,
        AbortCode::PeerFault,
        AbortCode::Ban,
        AbortCode::PeerAborted,
        AbortCode::Share,
        AbortCode::Misconfigured,
        AbortCode::Plugin,
        AbortCode::Internal,
        AbortCode::Unavailable,
        AbortCode::BadSignature,
    ];
    golden.value("report.abort-codes", &codes);
    let codes: Vec<RefusedCode> = vec![
        RefusedCode::NotAcceptable,
        RefusedCode::Banned,
        RefusedCode::Plugin,
        RefusedCode::Busy,
        RefusedCode::Share,
        RefusedCode::Clock,
        RefusedCode::NoRoom,
        RefusedCode::Store,
    ];
    golden.value("report.refused-codes", &codes);
    golden.value("report.refused-codes-2", &vec![RefusedCode::OrderExhausted, RefusedCode::DeadlinePassed]);
    golden.value("report.refused-codes-3", &RefusedCode::RefreshRequired);
    golden.value("report.refused-codes-4", &RefusedCode::DailyMaximum);
    golden.check("report.");
}

#[test]
fn user_shares_keep_their_encoding() {
    let mut golden = Golden::default();
    let share_id = ShareId { account: AccountId([7; 16]), epoch: 3, party: party(3) };
    let entries = [("a", vec![1; 40]), ("share", vec![2; 5])];
    let entries = entries.map(|(name, value)| (name.to_owned(), Zeroizing::new(value)));
    let share = UserShare::new(&share_id, &entries.into());
    let key = RecipientKey::derive(&[1; 32]);
    golden.add("user.recipient", key.public());
    golden.add("user.share", share.bytes());
    golden.add("user.share-sealed", share.seal(&key.public(), &[3; 32]).unwrap());
    let to = SealingKey {
        id: SealingKeyId([17; 16]),
        key: key.public(),
        not_before: NOW,
        not_after: NOW + Duration::from_secs(86_400),
    };
    golden.value("user.sealing-key", &to);
    golden.add("user.sealing-key-signature", to.clone().sign(&identity(3)).signature.0);
    for (grant, request, purpose) in [
        ("user.grant-sign", "user.request-sign", Purpose::Sign(items())),
        (
            "user.grant-refresh",
            "user.request-refresh",
            Purpose::Refresh(NewShareTerms { recipient: [12; 32], claim_hash: [16; 32] }),
        ),
    ] {
        let header =
            GrantHeader { nonce: [5; 32], expires_at: NOW, account: AccountId([7; 16]), epoch: 3, purpose };
        golden.value(grant, &header);
        let sealed = ShareGrant { header, share: share.clone() }.seal(&to, &[4; 32]).unwrap();
        golden.add(request, sealed);
    }
    golden.check("user.");
}

/// Three parties whose frames all arrive, in order.
struct Network {
    sessions: Vec<Session>,
    in_flight: VecDeque<(PartyIndex, Vec<u8>)>,
    /// The frames that party 1 has sent to party 2.
    seen: Vec<Vec<u8>>,
}

impl Network {
    fn start() -> Self {
        let mut network = Self { sessions: vec![], in_flight: VecDeque::new(), seen: vec![] };
        for index in 1..=3 {
            let terms = SessionTerms {
                plan: PlanHash([1; 32]),
                me: party(index),
                signers: PartyIndex::all(3).collect(),
                threshold: Threshold::new(2, 3).unwrap(),
                parties: parties(),
                deadline: UnixMillis(60_000),
                counter: u64::from(index),
                database: DatabaseId([u8::try_from(index).unwrap(); 16]),
                longest_message: 1 << 10,
                message_parts: 2,
                waiting_room: WaitingRoom::new(1 << 20),
            };
            let seed = Zeroizing::new([100 + u8::try_from(index).unwrap(); 32]);
            let (session, effects) = Session::begin(terms, identity(index), &seed, UnixMillis(0));
            network.sessions.push(session);
            network.apply(index, effects);
        }
        network.settle();
        network
    }

    fn apply(&mut self, from: u16, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { to, frame } => self.send(from, to, frame),
                Effect::Abort { notices, .. } => {
                    notices.into_iter().for_each(|(to, frame)| self.send(from, to, frame));
                }
                Effect::Start { .. } | Effect::Deliver(_) | Effect::SetBack { .. } | Effect::Bans(_) => {}
            }
        }
    }

    fn send(&mut self, from: u16, to: PartyIndex, frame: Vec<u8>) {
        if (from, to.number()) == (1, 2) {
            self.seen.push(frame.clone());
        }
        self.in_flight.push_back((to, frame));
    }

    fn settle(&mut self) {
        while let Some((to, frame)) = self.in_flight.pop_front() {
            let effects = self.sessions[usize::from(to.number()) - 1].receive(&frame, UnixMillis(0));
            self.apply(to.number(), effects);
        }
    }

    fn say(&mut self, from: u16, round: u16, to: To) {
        let effects = self.sessions[usize::from(from) - 1].send(round, to, b"payload", UnixMillis(0));
        self.apply(from, effects);
    }
}

#[test]
fn session_frames_keep_their_encoding() {
    let mut golden = Golden::default();
    let mut network = Network::start();
    network.say(1, 1, To::Party(party(2)));
    network.say(1, 1, To::Party(party(2)));
    network.say(1, 1, To::Broadcast);
    for index in 1..=3 {
        network.say(index, 2, To::ReliableBroadcast);
    }
    network.settle();
    let finished = network.sessions[0].finish();
    network.apply(1, finished);
    let ended = network.sessions[0].fail(Abort::of(AbortCode::Unavailable, "shutting down"), UnixMillis(0));
    network.apply(1, ended);
    let names = [
        "frame.1-hello",
        "frame.2-hello-echo",
        "frame.3-envelope-first",
        "frame.4-envelope-second",
        "frame.5-envelope-broadcast",
        "frame.6-envelope-reliable",
        "frame.7-broadcast-echo",
        "frame.8-finished",
        "frame.9-abort",
    ];
    assert_eq!(network.seen.len(), names.len());
    for (name, frame) in names.into_iter().zip(&network.seen) {
        assert_eq!(decode::<Frame>(frame).map(|decoded| encode(&decoded)).as_ref(), Ok(frame), "{name}");
        golden.add(name, frame.clone());
    }
    golden.value("frame.ready", &Frame::Ready(ready(1)));
    golden.value("frame.certificate", &Frame::Certificate(certificate()));
    let Ok(Frame::Hello(hello)) = decode(&network.seen[0]) else { panic!("the first frame is no hello") };
    golden.value("frame.earlier-hello", &Frame::EarlierHello(hello));
    golden.value("frame.bans", &Frame::Bans(vec![ban()]));
    golden.value("frame.acknowledgement", &Frame::Acknowledgement(acknowledgement(1)));
    golden.check("frame.");
}
