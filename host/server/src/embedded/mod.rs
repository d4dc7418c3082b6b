//! All roles in one process, on SQLite, an in-process queue and connections in memory.
//!
//! This is how one tries Quorate and how it is tested, not how one keeps money safe with it: whoever takes over the
//! process has all shares. The roles talk through the same services as they do when each is a process.

pub(crate) mod secrets;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorate_broker::cache::MemoryCache;
use quorate_broker::queue::{MemoryQueue, Queue};
use quorate_broker::store::{ControlStore, Crypter, Database, MasterKey, PartyStore, StoreError};
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_core::{Threshold, ThresholdError};
use quorate_runtime::{CompileCache, Grants, LoadError, Plugin, Runtime, RuntimeConfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::account::{AccountService, AccountSetup, TimeLimits};
use crate::clock::{Clock, SystemClock};
use crate::coordinator::{self, Coordinator, CoordinatorSetup};
use crate::grpc;
use crate::http::serve::serve;
use crate::http::{self, AllowedAddresses, Api, ApiKey, ApiSetup, Guard, Health};
use crate::party::service::PartyService;
use crate::party::{Party, PartySetup};
use crate::router::{self, Hub, JoinKey, RouterClient, RouterSetup};

/// How long requests and sessions may still take when everything is told to stop.
const GRACE: Duration = Duration::from_secs(12);

/// How long servers wait for their connections to close, once nobody needs them any more.
const CLOSE: Duration = Duration::from_secs(1);

/// How long the coordinator may take to hear of a new plugin.
const HEARD: Duration = Duration::from_secs(5);

/// What an [`Embedded`] is given.
pub struct EmbeddedSetup {
    /// Where databases, keys and compiled plugins are kept: a folder of ours alone.
    pub data: PathBuf,
    /// How many parties.
    pub parties: u16,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// The key that callers present.
    pub key: ApiKey,
    /// The addresses that they may call from.
    pub allowed: AllowedAddresses,
    /// Proxies whose word on where a call comes from is believed.
    pub proxies: AllowedAddresses,
    /// How long operations may take.
    pub limits: TimeLimits,
}

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is not free, or not ours.
    #[error("can't listen on {address}: another process may be using the port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file or folder can't be used.
    #[error("{path}: can't be used")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A key file does not contain a key.
    #[error("{0}: this is no key of 64 hex characters; restore it from your backup")]
    Key(PathBuf),
    /// A key file is gone, and what it has sealed or signed is still there.
    #[error("{0}: the key is missing, but its database is there: restore the file from your backup")]
    Missing(PathBuf),
    /// A database can't be used.
    #[error("{path}: can't be used")]
    Store {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The sandbox does not start.
    #[error("the sandbox does not start")]
    Runtime(#[source] std::io::Error),
    /// A number of parties that is not possible.
    #[error("the number of parties is not possible")]
    Parties(#[from] ThresholdError),
}

/// All roles, running.
pub struct Embedded {
    address: SocketAddr,
    runtime: Runtime,
    parties: Vec<Arc<Party>>,
    coordinator: Arc<Coordinator>,
    api: Api,
    broken: CancellationToken,
    stop_api: CancellationToken,
    stop_parties: CancellationToken,
    stop_rest: CancellationToken,
    api_tasks: TaskTracker,
    party_tasks: TaskTracker,
    rest: TaskTracker,
}

impl Embedded {
    /// Starts all roles. There is no plugin yet: see [`Embedded::install`].
    ///
    /// # Errors
    /// See [`StartError`]. Nothing goes on running.
    pub async fn start(setup: EmbeddedSetup) -> Result<Self, StartError> {
        // The smallest t shows whether the number of parties is possible.
        Threshold::new(2, setup.parties)?;
        let address = setup.listen;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| StartError::Listen { address, source })?;
        let bound = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
        secrets::make_folder(&setup.data)?;
        let runtime = sandbox(&setup.data)?;
        let keys = secrets::read_or_make(&setup.data, setup.parties)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let queue: Arc<dyn Queue> = Arc::new(MemoryQueue::default());
        let originator = SecretKey::from_seed(&keys.originator).public();
        let pinned: Vec<PublicKey> =
            keys.parties.iter().map(|party| SecretKey::from_seed(&party.identity).public()).collect();
        let control = open_control(&setup).await?;
        let stop = CancellationToken::new;
        let (stop_api, stop_parties, stop_rest) = (stop(), stop(), stop());
        // If something below fails, what was started before stops.
        let started = [stop_parties.clone().drop_guard(), stop_rest.clone().drop_guard()];
        let rest = TaskTracker::new();

        let (router_end, to_router) = grpc::in_memory();
        let join_key = join_key()?;
        let router = RouterSetup {
            hub: Hub::default(),
            key: join_key.clone(),
            clock: Arc::clone(&clock),
            // There is no other router.
            exchange: None,
        };
        rest.spawn(serve(router_end, router::service(router), stop_rest.clone(), CLOSE));

        let coordinator = Coordinator::new(CoordinatorSetup {
            store: control.clone(),
            queue: Arc::clone(&queue),
            originators: vec![originator],
            clock: Arc::clone(&clock),
            key: join_key,
            own_keys_only: false,
        });
        let (coordinator_end, to_coordinator) = grpc::in_memory();
        let service = coordinator::service(Arc::clone(&coordinator));
        rest.spawn(serve(coordinator_end, service, stop_rest.clone(), CLOSE));
        let broken = CancellationToken::new();
        let work = Arc::clone(&coordinator).work(stop_rest.clone(), CLOSE);
        rest.spawn(watch("coordinator", work, broken.clone()));

        let mut parties = Vec::new();
        for (index, key) in keys.parties.into_iter().enumerate() {
            let store = open_party(&setup, index, key.master, pinned[index]).await?;
            let party = Party::new(PartySetup {
                seed: key.identity,
                originators: vec![originator],
                pinned: pinned.clone(),
                store,
                replica: "embedded".into(),
                clock: Arc::clone(&clock),
                router: RouterClient::new(grpc::channel(to_router.clone())),
            });
            let failed = |source| StartError::Store { path: party_file(&setup, index), source };
            parties.push(Arc::new(party.await.map_err(failed)?));
        }
        let party_tasks = TaskTracker::new();
        for (index, party) in parties.iter().enumerate() {
            let service = Arc::new(PartyService {
                party: Arc::clone(party),
                queue: Arc::clone(&queue),
                coordinators: grpc::channel(to_coordinator.clone()).into(),
                desk: None,
            });
            let path = party_file(&setup, index);
            service.take_up().await.map_err(|source| StartError::Store { path, source })?;
            party_tasks.spawn(service.serve(vec![], stop_parties.clone(), GRACE));
        }

        // What the parties know of sessions from before the restart has been said by now.
        let interrupted = control.end_interrupted(clock.millis()).await;
        interrupted.map_err(|source| StartError::Store { path: setup.data.join("control.db"), source })?;

        let accounts = AccountService::new(AccountSetup {
            store: control,
            coordinators: grpc::channel(to_coordinator).into(),
            originator: keys.originator,
            originators: vec![],
            parties: pinned,
            clock,
            user_party: None,
            limits: setup.limits,
        });
        let guard = Guard { key: Some(setup.key), allowed: setup.allowed, proxies: setup.proxies };
        let (health, cache) = (Health::of("all"), Arc::new(MemoryCache::default()));
        let api = Api::new(ApiSetup { accounts, guard, health, cache });
        let api_tasks = TaskTracker::new();
        api_tasks.spawn(serve(listener, http::router(api.clone()), stop_api.clone(), GRACE));
        tracing::warn!(
            parties = setup.parties,
            "all parties run in this one process: good for a try, no threshold security; in production each party is \
             a process of its own"
        );
        started.into_iter().for_each(|guard| drop(guard.disarm()));
        Ok(Self {
            address: bound,
            runtime,
            parties,
            coordinator,
            api,
            broken,
            stop_api,
            stop_parties,
            stop_rest,
            api_tasks,
            party_tasks,
            rest,
        })
    }

    /// Where the API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until a role has ended because it can't go on; the log says why.
    pub async fn broken(&self) {
        self.broken.cancelled().await;
    }

    /// The sandbox.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The parties, in index order.
    #[must_use]
    pub fn parties(&self) -> &[Arc<Party>] {
        &self.parties
    }

    /// Loads a component and lets new sessions run on it at all parties, beside those that are there.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn install(&self, component: &[u8]) -> Result<Plugin, LoadError> {
        let plugin = self.runtime.load(component, &Grants::default()).await?;
        let mut installed = Vec::new();
        for party in &self.parties {
            if party.install(&plugin) {
                installed.push(party.identity());
            }
        }
        if !self.coordinator.hears_of(plugin.digest(), &installed, HEARD).await {
            tracing::warn!(?plugin, "the coordinator has not heard of the plugin from all parties yet");
        }
        tracing::info!(?plugin, "installed");
        Ok(plugin)
    }

    /// Stops: nothing new is taken on, what runs is finished or, after a while, aborted.
    pub async fn stop(self) {
        self.stop_api.cancel();
        self.api_tasks.close();
        self.api_tasks.wait().await;
        // Requests whose callers have hung up.
        let _ = tokio::time::timeout(GRACE, self.api.finish()).await;
        self.stop_parties.cancel();
        self.party_tasks.close();
        self.party_tasks.wait().await;
        self.stop_rest.cancel();
        self.rest.close();
        self.rest.wait().await;
    }
}

/// Notices when a role ends because it can't go on.
async fn watch(role: &str, work: impl Future<Output = Result<(), StoreError>>, broken: CancellationToken) {
    if let Err(error) = work.await {
        tracing::error!(role, %error, cause = ?std::error::Error::source(&error), "a role ended");
        broken.cancel();
    }
}

/// A sandbox that keeps what it has compiled in a data folder.
pub(crate) fn sandbox(data: &Path) -> Result<Runtime, StartError> {
    secrets::make_folder(data)?;
    let key = secrets::compile_cache_key(data)?;
    let folder = data.join("compiled");
    let cache = CompileCache::open(&folder, key);
    let compile_cache = Some(cache.map_err(|source| StartError::File { path: folder, source })?);
    Runtime::new(RuntimeConfig { compile_cache, ..RuntimeConfig::default() }).map_err(StartError::Runtime)
}

async fn open_control(setup: &EmbeddedSetup) -> Result<ControlStore, StartError> {
    let path = setup.data.join("control.db");
    let failed = |source| StartError::Store { path: path.clone(), source };
    let database = Database::sqlite(&path).await.map_err(failed)?;
    let store = ControlStore::open(database).await.map_err(failed)?;
    // No other process answers requests: whoever held an idempotency key is gone.
    store.give_up_all_runs().await.map_err(failed)?;
    Ok(store)
}

fn party_file(setup: &EmbeddedSetup, index: usize) -> PathBuf {
    setup.data.join(format!("party-{}.db", index + 1))
}

async fn open_party(
    setup: &EmbeddedSetup,
    index: usize,
    master: MasterKey,
    identity: PublicKey,
) -> Result<PartyStore, StartError> {
    let path = party_file(setup, index);
    let failed = |source| StartError::Store { path: path.clone(), source };
    let database = Database::sqlite(&path).await.map_err(failed)?;
    PartyStore::open(database, Crypter::new(master, identity)).await.map_err(failed)
}

/// A secret that only this process knows.
fn join_key() -> Result<JoinKey, StartError> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(secret.as_mut_slice()).map_err(|e| StartError::Runtime(std::io::Error::other(e)))?;
    JoinKey::new(&Zeroizing::new(hex::encode(secret.as_slice())))
        .map_err(|e| StartError::Runtime(std::io::Error::other(e)))
}

/// A key of 32 bytes.
type Seed = Zeroizing<[u8; 32]>;
