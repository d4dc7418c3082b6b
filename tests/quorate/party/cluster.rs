//! Three parties with real components and real databases, over the router's hub.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_backends::cache::MemoryCache;
use quorate_backends::database::Database;
use quorate_core::abort::SignedAbort;
use quorate_core::certificate::{Certificate, KeyOutputs};
use quorate_core::codec::{Bytes, decode};
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_core::order::{HashFunction, Operation, Order, OrderTerms, SignItem, Version};
use quorate_core::plan::Plan;
use quorate_core::report::Outcome;
use quorate_core::{
    AccountId, Digest, KeySpec, OrderId, PartyIndex, SchemeSignature, Threshold, UnixMillis, UnixSeconds,
};
use quorate_kit::random32;
use quorate_net::clock::{Clock, SystemClock};
use quorate_net::join_token::Joiner;
use quorate_net::router_client::RouterClient;
use quorate_party::{Party, PartySetup, PlanRefusal, intake};
use quorate_party_store::{Crypter, MasterKey, PartyStore};
use quorate_runtime::Plugin;
use quorate_tests::hostile_router::honest;
use quorate_tests::in_memory::join_key;
use quorate_tests::verification::assert_ecdsa;
use tempfile::TempDir;
use zeroize::Zeroizing;

pub(super) const ACCOUNT: AccountId = AccountId([42; 16]);
pub(super) const DEADLINE: Duration = Duration::from_secs(60);
pub(super) const ORDER_LIFETIME: Duration = Duration::from_secs(120);

/// Three parties, each with a database of its own, and the keys that sign orders and plans.
pub(super) struct Cluster {
    pub(super) folder: TempDir,
    pub(super) seeds: Vec<[u8; 32]>,
    pub(super) parties: Vec<Arc<Party>>,
    pub(super) originator: SecretKey,
    pub(super) router: RouterClient,
    pub(super) plugins: Vec<Plugin>,
    pub(super) epoch: u32,
    pub(super) public_key: Vec<u8>,
    pub(super) certificate: Option<Certificate>,
    pub(super) aborts: Vec<SignedAbort>,
    pub(super) clock: Arc<Later>,
}

/// The machine's clock, and a while later if so wished.
#[derive(Default)]
pub(super) struct Later(pub(super) AtomicU64);

impl Clock for Later {
    fn millis(&self) -> UnixMillis {
        SystemClock.millis() + Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Has a party run a plan, with a token for the router.
pub(super) async fn run(party: &Arc<Party>, plan: Plan) -> Result<Outcome, PlanRefusal> {
    let (key, session) = (join_key(), plan.session_id());
    let order: Order = decode(plan.order.bytes()).unwrap();
    let party_identity = party.identity();
    let me = order.spec.index_of(&party_identity);
    // A stranger has none.
    let token = me.map(|party| {
        let joiner = Joiner { identity: &party_identity, party, parties: 16 };
        key.token(session, joiner, UnixSeconds(u64::MAX / 2))
    });
    let token = token.unwrap_or_default();
    Ok(intake::admit_and_claim(party, plan, token).await?.run().await.unwrap())
}

impl Cluster {
    pub(super) async fn new(plugins: Vec<Plugin>) -> Self {
        Self::over(honest(), plugins).await
    }

    pub(super) async fn over(router: RouterClient, plugins: Vec<Plugin>) -> Self {
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

    pub(super) fn keys(&self) -> Vec<PublicKey> {
        self.seeds.iter().map(|seed| SecretKey::from_seed(seed).public()).collect()
    }

    pub(super) fn file(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("party-{index}.db"))
    }

    pub(super) async fn store(&self, index: usize) -> PartyStore {
        self.store_in(index, &self.file(index)).await
    }

    /// The store of a party in another file.
    pub(super) async fn store_in(&self, index: usize, file: &Path) -> PartyStore {
        let master = MasterKey::from_hex(&format!("{index:02x}").repeat(32)).unwrap();
        let database = Database::sqlite(file).await.unwrap();
        PartyStore::open(database, Crypter::new(master, self.keys()[index])).await.unwrap()
    }

    pub(super) async fn start(&self, index: usize) -> Arc<Party> {
        self.start_on(index, self.store(index).await).await
    }

    pub(super) async fn start_on(&self, index: usize, store: PartyStore) -> Arc<Party> {
        let party = Party::new(PartySetup {
            minimum_plugins: BTreeMap::new(),
            seed: Zeroizing::new(self.seeds[index]),
            originators: vec![self.originator.public()],
            pinned: self.keys(),
            store,
            replica: "test".into(),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            router: self.router.clone(),
            cache: Arc::new(MemoryCache::default()),
            signatures_per_day: None,
            plugin_texts: quorate_runtime::PluginText::Discarded,
        })
        .await
        .unwrap();
        let party = Arc::new(party);
        for plugin in &self.plugins {
            party.install(plugin).unwrap();
        }
        party
    }

    pub(super) fn terms(&self, operation: Operation) -> OrderTerms {
        let keygen = operation == Operation::Keygen;
        OrderTerms {
            operation,
            spec: KeySpec {
                account: ACCOUNT,
                scheme: self.plugins[0].descriptor().schemes[0].clone(),
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

    pub(super) fn plan(&self, operation: Operation, signers: &[u16]) -> Plan {
        self.plan_on(operation, signers, self.plugins[0].digest())
    }

    pub(super) fn plan_on(&self, operation: Operation, signers: &[u16], digest: Digest) -> Plan {
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
    pub(super) async fn run(&self, plan: &Plan) -> Vec<Result<Outcome, PlanRefusal>> {
        let runs = plan.signers.iter().map(|signer| {
            let party = Arc::clone(&self.parties[usize::from(signer.number()) - 1]);
            async move { run(&party, plan.clone()).await }
        });
        futures::future::join_all(runs).await
    }

    /// A backup of a party's database.
    pub(super) async fn backup(&self, party: usize) -> PathBuf {
        let to = self.folder.path().join(format!("backup-{party}.db"));
        let from = format!("sqlite:{}", self.file(party).display());
        let pool = sqlx::SqlitePool::connect(&from).await.unwrap();
        sqlx::query("VACUUM INTO ?").bind(to.to_str().unwrap()).execute(&pool).await.unwrap();
        pool.close().await;
        to
    }

    /// Starts a party anew, on a backup of its database.
    pub(super) async fn restore(&mut self, party: usize, backup: &Path) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", self.file(party).display()));
        }
        std::fs::copy(backup, self.file(party)).unwrap();
        self.parties[party] = self.start(party).await;
    }

    pub(super) async fn activate(&mut self, operation: Operation) -> Certificate {
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

    pub(super) fn clock_millis(&self) -> UnixMillis {
        self.clock.millis()
    }

    pub(super) async fn keygen(&mut self) {
        self.activate(Operation::Keygen).await;
    }

    pub(super) async fn sign(&self, signers: &[u16], digest: [u8; 32]) -> SchemeSignature {
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

    pub(super) fn assert_signed(&self, signature: &SchemeSignature, digest: [u8; 32]) {
        assert_ecdsa(signature, digest, &self.public_key);
    }
}

pub(super) fn signing(digest: [u8; 32]) -> Operation {
    Operation::Sign(
        SignItem {
            message: Bytes(digest.to_vec()),
            hash: HashFunction::None,
            path: vec![],
            merkle_root: None,
            presignatures: false,
        }
        .into(),
    )
}

/// Runs a query that counts, in the database of a party.
pub(super) async fn count(file: &Path, query: &'static str) -> i64 {
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let count = sqlx::query_scalar(query).fetch_one(&pool).await.unwrap();
    pool.close().await;
    count
}
