//! Parties with real components and real databases, over the router's hub: orders, plans, sessions, activation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quorate_backends::database::Database;
use quorate_core::abort::{AbortCode, AbortNotice, SignedAbort};
use quorate_core::admission::Refused;
use quorate_core::certificate::{Certificate, KeyOutputs, Ready};
use quorate_core::codec::{Bytes, decode};
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_core::order::{HashFunction, Operation, Order, OrderRefused, OrderTerms, SignItem, Version};
use quorate_core::plan::Plan;
use quorate_core::report::Outcome;
use quorate_core::session::Frame;
use quorate_core::{
    AccountId, Digest, KeySpec, OrderId, PartyIndex, SchemeSignature, Threshold, UnixMillis, UnixSeconds,
};
use quorate_kit::random32;
use quorate_net::clock::{Clock, SystemClock};
use quorate_net::router_client::RouterClient;
use quorate_party::{Party, PartySetup, PlanRefusal, intake, recovery};
use quorate_party_store::{Crypter, MasterKey, PartyStore};
use quorate_runtime::Plugin;
use quorate_tests::verification::assert_ecdsa;
use quorate_verify::proof::{Proved, proved_by_promises};
use tempfile::TempDir;
use zeroize::Zeroizing;

use quorate_tests::hostile_router::{honest, hostile};
use quorate_tests::in_memory::join_key;
use quorate_tests::sandbox_tasks::load;

const ACCOUNT: AccountId = AccountId([42; 16]);
const DEADLINE: Duration = Duration::from_secs(60);
const ORDER_LIFETIME: Duration = Duration::from_secs(120);

/// Three parties, each with a database of its own, and the keys that sign orders and plans.
struct Cluster {
    folder: TempDir,
    seeds: Vec<[u8; 32]>,
    parties: Vec<Arc<Party>>,
    originator: SecretKey,
    router: RouterClient,
    plugins: Vec<Plugin>,
    epoch: u32,
    public_key: Vec<u8>,
    certificate: Option<Certificate>,
    aborts: Vec<SignedAbort>,
    clock: Arc<Later>,
}

/// The machine's clock, and a while later if so wished.
#[derive(Default)]
struct Later(AtomicU64);

impl Clock for Later {
    fn millis(&self) -> UnixMillis {
        SystemClock.millis() + Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Has a party run a plan, with a token for the router.
async fn run(party: &Arc<Party>, plan: Plan) -> Result<Outcome, PlanRefusal> {
    let (key, session) = (join_key(), plan.session_id());
    let order: Order = decode(plan.order.bytes()).unwrap();
    let me = order.spec.index_of(&party.identity());
    // A stranger has none.
    let token = me.map(|me| key.token(session, me, 16, UnixSeconds(u64::MAX / 2))).unwrap_or_default();
    Ok(intake::admit_and_claim(party, plan, token).await?.run().await.unwrap())
}

impl Cluster {
    async fn new(plugins: Vec<Plugin>) -> Self {
        Self::over(honest(), plugins).await
    }

    async fn over(router: RouterClient, plugins: Vec<Plugin>) -> Self {
        let seeds: Vec<_> = (0..3).map(|_| random32()).collect();
        let mut cluster = Self {
            folder: tempfile::tempdir().unwrap(),
            seeds,
            parties: vec![],
            originator: SecretKey::from_seed(&random32()),
            router,
            plugins,
            epoch: 0,
            public_key: vec![],
            certificate: None,
            aborts: vec![],
            clock: Arc::default(),
        };
        for index in 0..3 {
            let party = cluster.start(index).await;
            cluster.parties.push(party);
        }
        cluster
    }

    fn keys(&self) -> Vec<PublicKey> {
        self.seeds.iter().map(|seed| SecretKey::from_seed(seed).public()).collect()
    }

    fn file(&self, index: usize) -> std::path::PathBuf {
        self.folder.path().join(format!("party-{index}.db"))
    }

    async fn store(&self, index: usize) -> PartyStore {
        let master = MasterKey::from_hex(&format!("{index:02x}").repeat(32)).unwrap();
        let database = Database::sqlite(&self.file(index)).await.unwrap();
        PartyStore::open(database, Crypter::new(master, self.keys()[index])).await.unwrap()
    }

    async fn start(&self, index: usize) -> Arc<Party> {
        let store = self.store(index).await;
        let party = Party::new(PartySetup {
            seed: Zeroizing::new(self.seeds[index]),
            originators: vec![self.originator.public()],
            pinned: self.keys(),
            store,
            replica: "test".into(),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            router: self.router.clone(),
        })
        .await
        .unwrap();
        let party = Arc::new(party);
        for plugin in &self.plugins {
            party.install(plugin).unwrap();
        }
        party
    }

    fn terms(&self, operation: Operation) -> OrderTerms {
        let keygen = operation == Operation::Keygen;
        OrderTerms {
            operation,
            spec: KeySpec {
                account: ACCOUNT,
                scheme: "ecdsa-secp256k1".into(),
                protocol: self.plugins[0].descriptor().id.clone(),
                threshold: Threshold::new(2, 3).unwrap(),
                parties: self.keys(),
                mandatory: vec![],
            },
            minimum_plugin: Version::default(),
            epoch: if keygen { 0 } else { self.epoch },
            share_set: self.certificate.as_ref().filter(|_| !keygen).map(|made| made.activation.plan),
            public_key: if keygen { vec![] } else { self.public_key.clone() },
            recipient: None,
        }
    }

    fn plan(&self, operation: Operation, signers: &[u16]) -> Plan {
        self.plan_on(operation, signers, self.plugins[0].digest())
    }

    fn plan_on(&self, operation: Operation, signers: &[u16], digest: Digest) -> Plan {
        let now = self.clock.seconds();
        Plan {
            order: Order::new(OrderId(random32()), self.terms(operation), now, ORDER_LIFETIME)
                .sign(&self.originator),
            signers: signers.iter().map(|&s| PartyIndex::try_from(s).unwrap()).collect(),
            digest,
            pools: vec![],
            prepared: vec![],
            helpers: vec![],
            certificate: self.certificate.clone(),
            aborts: self.aborts.clone(),
            erasure: None,
            bans: vec![],
            nonce: random32(),
            deadline: self.clock.millis() + DEADLINE,
        }
    }

    /// Runs a plan at all its signers.
    async fn run(&self, plan: &Plan) -> Vec<Result<Outcome, PlanRefusal>> {
        let runs = plan.signers.iter().map(|signer| {
            let party = Arc::clone(&self.parties[usize::from(signer.number()) - 1]);
            async move { run(&party, plan.clone()).await }
        });
        futures::future::join_all(runs).await
    }

    async fn activate(&mut self, operation: Operation) -> Certificate {
        let ended = self.run(&self.plan(operation, &[1, 2, 3])).await;
        let activated: Vec<(Certificate, KeyOutputs)> = ended
            .into_iter()
            .map(|ended| match ended {
                Ok(Outcome::Activated { certificate, key }) => (certificate, key),
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(activated.windows(2).all(|w| w[0] == w[1]));
        let (certificate, key) = activated[0].clone();
        certificate.verify(&self.keys()).unwrap();
        assert_eq!(certificate.activation.outputs, key.hash());
        self.epoch = certificate.activation.epoch;
        self.public_key = key.public_key.0;
        self.certificate = Some(certificate.clone());
        certificate
    }

    async fn keygen(&mut self) {
        self.activate(Operation::Keygen).await;
    }

    async fn sign(&self, signers: &[u16], digest: [u8; 32]) -> SchemeSignature {
        let ended = self.run(&self.plan(signing(digest), signers)).await;
        let mut signatures = ended.into_iter().map(|ended| match ended {
            Ok(Outcome::Signed(signatures)) => {
                let [signature] = signatures.try_into().unwrap();
                signature
            }
            other => panic!("{other:?}"),
        });
        let first = signatures.next().unwrap();
        assert!(signatures.all(|s| s == first));
        first
    }

    fn assert_signed(&self, signature: &SchemeSignature, digest: [u8; 32]) {
        assert_ecdsa(signature, digest, &self.public_key);
    }
}

fn signing(digest: [u8; 32]) -> Operation {
    Operation::Sign(
        SignItem {
            message: Bytes(digest.to_vec()),
            hash: HashFunction::None,
            path: vec![],
            tweak: None,
            presignatures: false,
        }
        .into(),
    )
}

#[tokio::test]
async fn parties_make_a_key_sign_with_every_quorum_refresh_and_go_on_after_a_restart() {
    let mut cluster = Cluster::new(vec![load("dkls23").await]).await;
    cluster.keygen().await;
    for (i, signers) in [[1, 2], [1, 3], [2, 3]].into_iter().enumerate() {
        let digest = [u8::try_from(i).unwrap() + 1; 32];
        cluster.assert_signed(&cluster.sign(&signers, digest).await, digest);
    }
    let certificate = cluster.activate(Operation::Refresh).await;
    assert_eq!(certificate.activation.epoch, 2);
    cluster.assert_signed(&cluster.sign(&[2, 3], [7; 32]).await, [7; 32]);
    // Orders of the old epoch are over.
    let old = OrderTerms { epoch: 1, ..cluster.terms(signing([8; 32])) };
    let mut plan = cluster.plan(signing([8; 32]), &[1, 2]);
    plan.order = Order::new(OrderId(random32()), old, cluster.clock.seconds(), ORDER_LIFETIME)
        .sign(&cluster.originator);
    for ended in cluster.run(&plan).await {
        assert!(matches!(ended, Err(PlanRefusal::Stale)), "{ended:?}");
    }
    cluster.parties[1] = cluster.start(1).await;
    // Its share has not been reported yet; that of the session before needs no report any more.
    let reports = recovery::recover(&cluster.parties[1]).await.unwrap();
    let [Outcome::Activated { certificate, .. }] = [&reports[0].report.outcome] else {
        panic!("{reports:?}")
    };
    assert_eq!((reports.len(), certificate.activation.epoch), (1, 2));
    cluster.assert_signed(&cluster.sign(&[1, 2], [9; 32]).await, [9; 32]);
}

#[tokio::test]
async fn a_plan_is_run_once_and_an_account_has_one_key() {
    let mut cluster = Cluster::new(vec![load("dkls23").await]).await;
    cluster.keygen().await;
    let plan = cluster.plan(signing([1; 32]), &[1, 2]);
    // The queue delivers it to party 1 twice.
    let one = &cluster.parties[0];
    let (first, second, other) =
        tokio::join!(run(one, plan.clone()), run(one, plan.clone()), run(&cluster.parties[1], plan.clone()));
    assert!(matches!(other, Ok(Outcome::Signed(_))), "{other:?}");
    let mut claimed = [&first, &second].map(|ended| matches!(ended, Err(PlanRefusal::ClaimedBefore)));
    claimed.sort_unstable();
    assert_eq!(claimed, [false, true], "{first:?} {second:?}");
    // The same order under a new nonce: it has succeeded.
    let again = Plan { nonce: random32(), ..plan };
    for ended in cluster.run(&again).await {
        assert!(matches!(ended, Err(PlanRefusal::Refused(Refused::Succeeded))), "{ended:?}");
    }
    for ended in cluster.run(&cluster.plan(Operation::Keygen, &[1, 2, 3])).await {
        assert!(matches!(ended, Err(PlanRefusal::Refused(Refused::Share(_)))), "{ended:?}");
    }
}

#[tokio::test]
async fn forged_and_foreign_orders_start_nothing() {
    let mut cluster = Cluster::new(vec![load("dkls23").await]).await;
    cluster.keygen().await;
    let mut forged = cluster.plan(signing([1; 32]), &[1, 2]);
    let stranger = SecretKey::from_seed(&random32());
    forged.order = Order::new(
        OrderId(random32()),
        cluster.terms(signing([1; 32])),
        cluster.clock.seconds(),
        ORDER_LIFETIME,
    )
    .sign(&stranger);
    for ended in cluster.run(&forged).await {
        assert!(
            matches!(ended, Err(PlanRefusal::Refused(Refused::Order(OrderRefused::NotSigned)))),
            "{ended:?}"
        );
    }
    let other_plugin = cluster.plan_on(signing([1; 32]), &[1, 2], Digest([9; 32]));
    for ended in cluster.run(&other_plugin).await {
        assert!(matches!(ended, Err(PlanRefusal::Refused(Refused::PluginNotActive))), "{ended:?}");
    }
}

#[tokio::test]
async fn a_missing_party_is_a_timeout_that_blames_nobody_and_the_next_session_works() {
    let mut cluster = Cluster::new(vec![load("dkls23").await]).await;
    cluster.keygen().await;
    let mut plan = cluster.plan(signing([1; 32]), &[1, 2]);
    plan.deadline = cluster.clock.millis() + Duration::from_millis(700);
    let ended = run(&cluster.parties[0], plan).await;
    let Ok(Outcome::Aborted { code, culprits, reason, .. }) = ended else { panic!() };
    assert_eq!((code, culprits.len()), (AbortCode::Timeout, 0));
    assert!(reason.contains("hellos of parties 2"), "{reason}");
    cluster.assert_signed(&cluster.sign(&[1, 2], [2; 32]).await, [2; 32]);
}

#[tokio::test]
async fn a_party_that_closes_ends_its_sessions_and_gives_its_word_on_it() {
    let mut cluster = Cluster::new(vec![load("dkls23").await]).await;
    cluster.keygen().await;
    let plan = cluster.plan(signing([1; 32]), &[1, 2]);
    let party = Arc::clone(&cluster.parties[0]);
    let hash = plan.hash();
    let running = tokio::spawn(async move { run(&party, plan).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.parties[0].close();
    let ended = running.await.unwrap();
    let Ok(Outcome::Aborted { code: AbortCode::Unavailable, notice: Some(notice), .. }) = ended else {
        panic!("{ended:?}")
    };
    assert_eq!(notice.notice.plan, hash);
    notice.verify(&cluster.keys()[0]).unwrap();
    cluster.parties[0] = cluster.start(0).await;
    cluster.assert_signed(&cluster.sign(&[1, 2], [2; 32]).await, [2; 32]);
}

#[tokio::test]
async fn a_component_of_another_protocol_never_gets_near_a_share() {
    let (good, bad) = (load("dkls23").await, load("faulty").await);
    let mut cluster = Cluster::new(vec![good]).await;
    cluster.keygen().await;
    for party in &cluster.parties {
        party.install(&bad).unwrap();
    }
    let plan = cluster.plan_on(signing([1; 32]), &[1, 2], bad.digest());
    for ended in cluster.run(&plan).await {
        assert!(matches!(ended, Err(PlanRefusal::Refused(Refused::Plugin(_)))), "{ended:?}");
    }
}

fn is_about_promises(frame: &Frame) -> bool {
    matches!(frame, Frame::Ready(_) | Frame::Certificate(_))
}

/// A keygen that ends before all promises have arrived everywhere.
async fn interrupted_keygen(cluster: &Cluster) -> (Plan, Vec<Outcome>) {
    let mut plan = cluster.plan(Operation::Keygen, &[1, 2, 3]);
    plan.deadline = cluster.clock.millis() + Duration::from_millis(10_000);
    let ended = cluster.run(&plan).await;
    (plan, ended.into_iter().map(Result::unwrap).collect())
}

#[tokio::test]
async fn a_party_that_missed_the_certificate_rolls_forward_with_the_next_plan() {
    let router =
        hostile(|_, to, frame, sent| if to == 3 && is_about_promises(frame) { vec![] } else { vec![sent] });
    let mut cluster = Cluster::over(router, vec![load("dkls23").await]).await;
    let (_, outcomes) = interrupted_keygen(&cluster).await;
    let [Outcome::Activated { certificate, key }, Outcome::Activated { .. }, Outcome::Promised { .. }] =
        outcomes.as_slice()
    else {
        panic!("{outcomes:?}")
    };
    (cluster.epoch, cluster.public_key) = (1, key.public_key.0.clone());
    let sign = |cluster: &Cluster, digest: [u8; 32]| cluster.plan(signing(digest), &[1, 3]);
    let without = run(&cluster.parties[2], sign(&cluster, [1; 32])).await;
    assert!(matches!(without, Err(PlanRefusal::Refused(Refused::Share(_)))), "{without:?}");
    // What others have signed is no certificate.
    let mut forged = sign(&cluster, [2; 32]);
    let strangers: Vec<SecretKey> = (0..3).map(|_| SecretKey::from_seed(&random32())).collect();
    let readies: Vec<Ready> = PartyIndex::all(3)
        .zip(&strangers)
        .map(|(p, key)| Ready::sign(certificate.activation.clone(), p, key))
        .collect();
    let identities: Vec<PublicKey> = strangers.iter().map(SecretKey::public).collect();
    forged.certificate = Certificate::of(&readies, &identities);
    let refused = run(&cluster.parties[2], forged).await;
    assert!(matches!(refused, Err(PlanRefusal::Refused(Refused::Share(_)))), "{refused:?}");
    cluster.certificate = Some(certificate.clone());
    cluster.assert_signed(&cluster.sign(&[1, 3], [3; 32]).await, [3; 32]);
}

#[tokio::test]
async fn promises_that_reached_nobody_are_reported_after_a_restart_and_make_the_key_active() {
    let router = hostile(|_, _, frame, sent| if is_about_promises(frame) { vec![] } else { vec![sent] });
    let mut cluster = Cluster::over(router, vec![load("dkls23").await]).await;
    let (plan, outcomes) = interrupted_keygen(&cluster).await;
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Promised { .. })), "{outcomes:?}");
    let mut reported = Vec::new();
    for index in 0..3 {
        cluster.parties[index] = cluster.start(index).await;
        let reports = recovery::recover(&cluster.parties[index]).await.unwrap();
        let [report] = reports.as_slice() else { panic!("{reports:?}") };
        report.verify(&cluster.keys()).unwrap();
        reported.push(report.report.outcome.clone());
    }
    let order = plan.order.open(&[cluster.originator.public()], cluster.clock.seconds()).unwrap();
    assert_eq!(proved_by_promises(&order, None, &reported[..2]), None, "two of three are no certificate");
    let Some(Proved::Shares { certificate, key }) = proved_by_promises(&order, None, &reported) else {
        panic!()
    };
    (cluster.epoch, cluster.public_key) = (1, key.public_key.0);
    cluster.certificate = Some(certificate);
    cluster.assert_signed(&cluster.sign(&[2, 3], [4; 32]).await, [4; 32]);
}

#[tokio::test]
async fn a_refresh_that_one_party_never_finished_does_not_stand_in_the_way_of_the_next() {
    // The last messages to party 3 are lost, and so is its word that it has ended.
    let is_lost = Arc::new(AtomicBool::new(false));
    let for_router = Arc::clone(&is_lost);
    let router = hostile(move |from, to, frame, sent| {
        let last = matches!(frame, Frame::Envelope(envelope) if to == 3 && envelope.header.round == LAST_REFRESH_ROUND);
        let end = matches!(frame, Frame::Abort(_)) && from == 3;
        if (last || end) && for_router.load(Ordering::Relaxed) { vec![] } else { vec![sent] }
    });
    let mut cluster = Cluster::over(router, vec![load("dkls23").await]).await;
    cluster.keygen().await;
    is_lost.store(true, Ordering::Relaxed);
    let mut plan = cluster.plan(Operation::Refresh, &[1, 2, 3]);
    plan.deadline = cluster.clock.millis() + Duration::from_millis(8_000);
    let ended = cluster.run(&plan).await;
    let [
        Ok(Outcome::Promised { .. }),
        Ok(Outcome::Promised { .. }),
        Ok(Outcome::Aborted { notice: Some(notice), .. }),
    ] = ended.as_slice()
    else {
        panic!("{ended:?}")
    };
    is_lost.store(false, Ordering::Relaxed);
    // The old shares still sign, but no party can refresh.
    cluster.assert_signed(&cluster.sign(&[1, 2], [8; 32]).await, [8; 32]);
    let mut again = cluster.plan(Operation::Refresh, &[1, 2, 3]);
    again.deadline = cluster.clock.millis() + Duration::from_millis(2_000);
    assert!(matches!(run(&cluster.parties[0], again).await, Err(PlanRefusal::Locked)));
    cluster.aborts.push(notice.clone());
    assert_eq!(cluster.activate(Operation::Refresh).await.activation.epoch, 2);
    cluster.assert_signed(&cluster.sign(&[1, 3], [9; 32]).await, [9; 32]);
}

/// The round of DKLs23's refresh after whose messages a party is done.
const LAST_REFRESH_ROUND: u16 = 3;

async fn retired_shares(cluster: &Cluster) -> i64 {
    let mut all = 0;
    for index in 0..3 {
        all += count(&cluster.file(index), "SELECT count(*) FROM shares WHERE state = 'retired'").await;
    }
    all
}

#[tokio::test]
async fn old_shares_are_erased_when_all_parties_have_said_that_they_have_the_new_ones() {
    let is_lost = Arc::new(AtomicBool::new(true));
    let for_router = Arc::clone(&is_lost);
    let router = hostile(move |from, _, frame, sent| {
        let is_word = matches!(frame, Frame::Acknowledgement(_)) && from == 3;
        if is_word && for_router.load(Ordering::Relaxed) { vec![] } else { vec![sent] }
    });
    let mut cluster = Cluster::over(router, vec![load("dkls23").await]).await;
    cluster.keygen().await;
    cluster.activate(Operation::Refresh).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Party 3 itself has heard from all.
    assert_eq!(retired_shares(&cluster).await, 2, "erased without the word of party 3");
    is_lost.store(false, Ordering::Relaxed);
    for _ in 0..40 {
        if retired_shares(&cluster).await == 0 {
            cluster.assert_signed(&cluster.sign(&[2, 3], [1; 32]).await, [1; 32]);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("old shares were not erased");
}

#[tokio::test]
async fn a_word_that_nothing_was_promised_frees_those_who_have_promised_in_vain() {
    // No promise reaches another party.
    let router = hostile(|_, _, frame, sent| if is_about_promises(frame) { vec![] } else { vec![sent] });
    let mut cluster = Cluster::over(router, vec![load("dkls23").await]).await;
    let (plan, outcomes) = interrupted_keygen(&cluster).await;
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Promised { .. })));
    let locked = |cluster: &Cluster| {
        let party = Arc::clone(&cluster.parties[0]);
        let plan = cluster.plan(Operation::Keygen, &[1, 2, 3]);
        async move { run(&party, plan).await }
    };
    let before = locked(&cluster).await;
    assert!(matches!(before, Err(PlanRefusal::Refused(Refused::Share(_)))), "{before:?}");
    let notice = |index: u16, key: &[u8; 32]| {
        let by = PartyIndex::try_from(index).unwrap();
        let code = AbortCode::Unavailable;
        AbortNotice { plan: plan.hash(), by, code }.sign(&SecretKey::from_seed(key))
    };
    let stranger = random32();
    for (abort, frees) in [
        (notice(3, &stranger), false),
        (notice(1, &cluster.seeds[0]), false),
        (notice(3, &cluster.seeds[2]), true),
    ] {
        cluster.aborts = vec![abort];
        let _ = locked(&cluster).await;
        assert_eq!(locks(&cluster.file(0)).await == 0, frees);
    }
}

#[tokio::test]
async fn a_router_that_loses_doubles_and_changes_frames_costs_time_and_nothing_else() {
    let is_good = Arc::new(AtomicBool::new(true));
    let for_router = Arc::clone(&is_good);
    let router = hostile(move |_, _, _, sent| {
        if for_router.load(Ordering::Relaxed) {
            return vec![sent];
        }
        let mut changed = sent.clone();
        let mut bytes = changed.frame.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        changed.frame = bytes.into();
        match random32()[0] % 5 {
            0 => vec![],
            1 => vec![changed],
            _ => vec![changed, sent.clone(), sent],
        }
    });
    let mut cluster = Cluster::over(router, vec![load("dkls23").await]).await;
    // A keygen has many frames: it would wait for them to be sent again many times.
    cluster.keygen().await;
    is_good.store(false, Ordering::Relaxed);
    cluster.assert_signed(&cluster.sign(&[1, 3], [5; 32]).await, [5; 32]);
}

#[tokio::test]
async fn a_party_that_was_set_back_is_refused_by_its_peers() {
    let mut cluster = Cluster::new(vec![load("dkls23").await]).await;
    cluster.keygen().await;
    let backup = cluster.folder.path().join("backup.db");
    copy(&cluster.file(0), &backup).await;
    // Something that raises its counter, and a session in which its peer hears of it.
    cluster.store(0).await.ban(AccountId([1; 16]), PublicKey([9; 32])).await.unwrap();
    cluster.assert_signed(&cluster.sign(&[1, 2], [6; 32]).await, [6; 32]);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", cluster.file(0).display()));
    }
    std::fs::copy(&backup, cluster.file(0)).unwrap();
    cluster.parties[0] = cluster.start(0).await;
    // Hellos may overtake each other for a while; after that they are refused.
    cluster.clock.0.fetch_add(130_000, Ordering::Relaxed);
    let mut plan = cluster.plan(signing([7; 32]), &[1, 2]);
    plan.deadline = cluster.clock.millis() + Duration::from_millis(5_000);
    let ended = cluster.run(&plan).await;
    let Ok(Outcome::Aborted { code, culprits, reason, .. }) = &ended[1] else { panic!("{ended:?}") };
    assert_eq!((*code, culprits.len()), (AbortCode::PeerFault, 1), "{reason}");
    assert!(reason.contains("party 1 was set back"), "{reason}");
    // Who never heard of the later state goes on with it.
    cluster.assert_signed(&cluster.sign(&[1, 3], [8; 32]).await, [8; 32]);
}

/// Two processes with one identity would each keep half of what the party must remember.
#[tokio::test]
async fn a_process_with_the_same_identity_and_another_database_is_refused_by_its_peers() {
    let mut cluster = Cluster::new(vec![load("dkls23").await]).await;
    cluster.keygen().await;
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", cluster.file(0).display())).await.unwrap();
    sqlx::query("UPDATE state SET database_id = randomblob(16)").execute(&pool).await.unwrap();
    pool.close().await;
    let second = cluster.start(0).await;
    let first = std::mem::replace(&mut cluster.parties[0], second);
    let mut plan = cluster.plan(signing([7; 32]), &[1, 2]);
    plan.deadline = cluster.clock.millis() + Duration::from_millis(5_000);
    let ended = cluster.run(&plan).await;
    let Ok(Outcome::Aborted { code, culprits, reason, .. }) = &ended[1] else { panic!("{ended:?}") };
    assert_eq!((*code, culprits.as_slice()), (AbortCode::PeerFault, &[PartyIndex::FIRST][..]), "{reason}");
    assert!(reason.contains("party 1 has another database"), "{reason}");
    // The first process goes on, until the operator of a peer decides for the second.
    let second = std::mem::replace(&mut cluster.parties[0], first);
    cluster.assert_signed(&cluster.sign(&[1, 2], [8; 32]).await, [8; 32]);
    assert!(cluster.parties[1].readmit(cluster.keys()[0]).await.unwrap());
    cluster.parties[0] = second;
    cluster.assert_signed(&cluster.sign(&[1, 2], [9; 32]).await, [9; 32]);
}

/// A consistent copy of a party's database.
async fn copy(from: &std::path::Path, to: &std::path::Path) {
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", from.display())).await.unwrap();
    sqlx::query("VACUUM INTO ?").bind(to.to_str().unwrap()).execute(&pool).await.unwrap();
    pool.close().await;
}

async fn locks(file: &std::path::Path) -> i64 {
    count(file, "SELECT count(*) FROM locks").await
}

async fn count(file: &std::path::Path, query: &'static str) -> i64 {
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let count = sqlx::query_scalar(query).fetch_one(&pool).await.unwrap();
    pool.close().await;
    count
}
