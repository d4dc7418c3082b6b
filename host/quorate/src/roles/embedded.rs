//! All roles in one process, on SQLite, an in-process queue and connections in memory.
//!
//! This is for evaluation and for tests, not for keys that matter: an attacker who takes over the process has all
//! shares. The roles talk through the same services as they do when each is a process.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorate_account::api::Api;
use quorate_account::{AccountService, AccountSetup};
use quorate_backends::cache::MemoryCache;
use quorate_backends::database::StoreError;
use quorate_backends::queue::{MemoryQueue, Queue};
use quorate_control_store::{RowKeys, SessionStore};
use quorate_coordinator::{self, Coordinator, CoordinatorSetup};
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_core::{PartyIndex, Threshold};
use quorate_net::clock::{Clock, SystemClock};
use quorate_net::join_token::{JoinKey, JoinVerifier};
use quorate_net::memory::{MemoryConnector, channel, in_memory};
use quorate_net::router_client::RouterClient;
use quorate_net::server::{Callers, serve};
use quorate_net::telemetry::chain;
use quorate_net::web::guard::{AllowedAddresses, ApiKeyHashes};
use quorate_party::worker::{PartyWorker, WorkerSetup};
use quorate_party::{Party, PartySetup};
use quorate_router::{Hub, RouterSetup};
use quorate_runtime::{Grants, LoadError, Plugin, PluginText, Runtime};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::context::{SHUTDOWN_GRACE_PERIOD, time_limits};
use super::data_dir::{self, EmbeddedKeys, PartyKeys, sandbox};
use super::embedded_api::{guard_of, rate, start_api};
use super::error::{EmbeddedStartError, LocalError};
use super::listen::reserve;
use super::local_databases::{self, open_party, party_file};
use super::task_groups::{TaskGroup, TaskGroups};
use crate::config::{LimitsConfig, PluginsConfig, RatesConfig};

/// How long servers wait for their connections to close, after all requests have ended.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the coordinator may take to hear of a new plugin.
const PLUGIN_ANNOUNCEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// The settings of an [`Embedded`].
pub struct EmbeddedSetup {
    /// Where databases, keys and compiled plugins are kept: a folder of ours alone.
    pub data: PathBuf,
    /// How many parties.
    pub parties: u16,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// The keys that callers present.
    pub keys: ApiKeyHashes,
    /// The addresses that they may call from.
    pub allowed: AllowedAddresses,
    /// How much callers may ask for.
    pub rates: RatesConfig,
    /// Proxies whose `X-Forwarded-For` is accepted.
    pub proxies: AllowedAddresses,
    /// How long operations may take.
    pub limits: LimitsConfig,
    /// The files of the components that are installed before the API answers.
    pub plugins: Vec<PathBuf>,
    /// Which components may be used.
    pub plugin_policy: PluginsConfig,
}

/// All roles, running. Dropped, they are told to stop.
pub struct Embedded {
    address: SocketAddr,
    runtime: Runtime,
    parties: Vec<Arc<Party>>,
    coordinator: Arc<Coordinator>,
    api: Api,
    broken: CancellationToken,
    groups: TaskGroups,
    /// What plugins that are installed later may use.
    grants: Grants,
    /// Keeps other processes off the data folder.
    _lock: File,
}

/// The services that all roles of the process share.
struct Shared {
    clock: Arc<dyn Clock>,
    queue: Arc<dyn Queue>,
    /// The account service's key, which parties and the coordinator pin.
    originator: PublicKey,
    /// The parties' keys, in index order.
    parties: Vec<PublicKey>,
    /// The key that signs join tokens, with which parties enter sessions at the router.
    join_key: JoinKey,
}

impl Shared {
    fn new(keys: &EmbeddedKeys) -> Result<Self, EmbeddedStartError> {
        let public = |party: &PartyKeys| SecretKey::from_seed(&party.identity).public();
        Ok(Self {
            clock: Arc::new(SystemClock),
            queue: Arc::new(MemoryQueue::default()),
            originator: SecretKey::from_seed(&keys.originator).public(),
            parties: keys.parties.iter().map(public).collect(),
            join_key: join_key()?,
        })
    }
}

impl Embedded {
    /// Starts all roles. The API answers once the components of the setup are installed: a caller that sees a healthy
    /// server can create an account.
    ///
    /// # Errors
    /// See [`EmbeddedStartError`]. Nothing goes on running.
    pub async fn start(setup: EmbeddedSetup) -> Result<Self, EmbeddedStartError> {
        // The smallest t shows whether the number of parties is possible.
        Threshold::new(2, setup.parties)?;
        let components =
            setup.plugins.iter().map(|path| read_component(path)).collect::<Result<Vec<_>, _>>()?;
        let port = reserve(setup.listen)?;
        let address = port.address;
        data_dir::make_folder(&setup.data)?;
        let lock = data_dir::lock(&setup.data)?;
        let keys = data_dir::read_or_make(&setup.data, setup.parties)?;
        let memory = setup.limits.sandbox_memory.saturating_mul(setup.parties.into());
        let runtime = sandbox(&setup.data, keys.compile_cache_key()?, memory)?;
        let shared = Shared::new(&keys)?;
        let row_keys = RowKeys::new(keys.account_rows, vec![]);
        let account_store = local_databases::open_accounts(&setup.data, row_keys).await?;
        let session_store = local_databases::open_sessions(&setup.data).await?;
        // If something below fails, what was started before stops: the groups are dropped.
        let groups = TaskGroups::new();
        let others = &groups.coordinator_and_router;
        let broken = CancellationToken::new();

        let to_router = start_router(&shared, others);
        let (coordinator, to_coordinator) =
            start_coordinator(&shared, session_store.clone(), others, &broken);
        let parties = make_parties(&setup, &shared, keys.parties, &to_router).await?;
        start_parties(&setup, &shared, &parties, &to_coordinator, &groups.parties).await?;

        // The parties have reported by now their sessions from before the restart.
        let interrupted = session_store.end_interrupted(shared.clock.millis()).await;
        let path = setup.data.join(local_databases::COORDINATOR_FILE);
        interrupted.map_err(|source| EmbeddedStartError::Store { path, source })?;

        install_all(&setup, &runtime, &parties, &coordinator, &components).await?;
        let accounts = AccountService::new(AccountSetup {
            store: account_store,
            coordinators: channel(to_coordinator).into(),
            originator: keys.originator,
            originators: vec![],
            parties: shared.parties,
            former_parties: vec![],
            minimum_plugins: setup.plugin_policy.minimum.clone(),
            clock: shared.clock,
            user_party: None,
            limits: time_limits(setup.limits),
            presignatures: setup.limits.presignatures,
        });
        let guard = guard_of(setup.keys, setup.allowed, setup.proxies, &setup.rates);
        let ways_in = (guard, rate("account", setup.rates.per_account), port.listen()?);
        let api = start_api(accounts, ways_in, &parties, Arc::clone(&shared.queue), &groups.api);
        tracing::warn!(
            parties = setup.parties,
            "all parties run in this one process, without threshold security: for evaluation only; in production each \
             party is a process of its own"
        );
        Ok(Self {
            address,
            runtime,
            parties,
            coordinator,
            api,
            broken,
            groups,
            grants: setup.plugin_policy.grants,
            _lock: lock,
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
        install(&self.runtime, &self.parties, &self.coordinator, component, &self.grants).await
    }

    /// Stops: nothing new is taken on, what runs is finished or, after a while, aborted.
    pub async fn stop(self) {
        self.groups.api.stop().await;
        // Requests whose callers have hung up.
        let _ = tokio::time::timeout(SHUTDOWN_GRACE_PERIOD, self.api.finish()).await;
        self.groups.parties.stop().await;
        self.groups.coordinator_and_router.stop().await;
    }
}

/// Reads the file of a component.
///
/// # Errors
/// [`EmbeddedStartError::MissingPlugin`].
pub(crate) fn read_component(path: &Path) -> Result<Vec<u8>, EmbeddedStartError> {
    std::fs::read(path).map_err(|source| EmbeddedStartError::MissingPlugin { path: path.to_owned(), source })
}

/// Installs the components of the setup at all parties.
async fn install_all(
    setup: &EmbeddedSetup,
    runtime: &Runtime,
    parties: &[Arc<Party>],
    coordinator: &Coordinator,
    components: &[Vec<u8>],
) -> Result<(), EmbeddedStartError> {
    for (path, component) in setup.plugins.iter().zip(components) {
        setup.plugin_policy.check(path, component)?;
        let loaded = install(runtime, parties, coordinator, component, &setup.plugin_policy.grants).await;
        loaded.map_err(|source| EmbeddedStartError::Plugin { path: path.clone(), source })?;
    }
    Ok(())
}

/// Loads a component, installs it at all parties, and waits until the coordinator knows that they have it.
async fn install(
    runtime: &Runtime,
    parties: &[Arc<Party>],
    coordinator: &Coordinator,
    component: &[u8],
    grants: &Grants,
) -> Result<Plugin, LoadError> {
    let plugin = runtime.load(component, grants).await?;
    let mut installed = Vec::new();
    for (index, party) in PartyIndex::all(Threshold::MAX_PARTIES).zip(parties) {
        match party.install(&plugin) {
            Ok(()) => installed.push(party.identity()),
            Err(reason) => tracing::error!(party = %index, ?plugin, %reason, "component not installed"),
        }
    }
    if !coordinator.wait_for_plugin(plugin.digest(), &installed, PLUGIN_ANNOUNCEMENT_TIMEOUT).await {
        tracing::warn!(?plugin, "the coordinator has not heard of the plugin from all parties yet");
    }
    tracing::info!(?plugin, "component installed");
    Ok(plugin)
}

/// Starts the router, and returns the way to it.
fn start_router(shared: &Shared, tasks: &TaskGroup) -> MemoryConnector {
    let (router, to_router) = in_memory();
    let setup = RouterSetup {
        hub: Hub::default(),
        tokens: JoinVerifier::new(vec![shared.join_key.public()]),
        clock: Arc::clone(&shared.clock),
        // There is no other router.
        peering: None,
    };
    tasks.tasks.spawn(serve(
        router,
        quorate_router::service(setup),
        Callers::Roles,
        tasks.token.clone(),
        CLOSE_TIMEOUT,
    ));
    to_router
}

/// Starts the coordinator, and returns the way to it. `broken` is cancelled when it can't go on.
fn start_coordinator(
    shared: &Shared,
    store: SessionStore,
    tasks: &TaskGroup,
    broken: &CancellationToken,
) -> (Arc<Coordinator>, MemoryConnector) {
    let coordinator = Coordinator::new(CoordinatorSetup {
        store,
        queue: Arc::clone(&shared.queue),
        originators: vec![shared.originator],
        parties: shared.parties.clone(),
        clock: Arc::clone(&shared.clock),
        key: shared.join_key.clone(),
        require_distinct_master_keys: false,
    });
    let (listener, to_coordinator) = in_memory();
    let service = quorate_coordinator::service(Arc::clone(&coordinator));
    tasks.tasks.spawn(serve(listener, service, Callers::Roles, tasks.token.clone(), CLOSE_TIMEOUT));
    let work = Arc::clone(&coordinator).work(tasks.token.clone(), CLOSE_TIMEOUT);
    tasks.tasks.spawn(watch("coordinator", work, broken.clone()));
    (coordinator, to_coordinator)
}

async fn make_parties(
    setup: &EmbeddedSetup,
    shared: &Shared,
    keys: Vec<PartyKeys>,
    to_router: &MemoryConnector,
) -> Result<Vec<Arc<Party>>, EmbeddedStartError> {
    let mut parties = Vec::new();
    for (index, key) in keys.into_iter().enumerate() {
        let store = open_party(&setup.data, index, key.master, shared.parties[index]).await?;
        let party = Party::new(PartySetup {
            minimum_plugins: setup.plugin_policy.minimum.clone(),
            seed: key.identity,
            originators: vec![shared.originator],
            pinned: shared.parties.clone(),
            store,
            replica: "embedded".into(),
            clock: Arc::clone(&shared.clock),
            router: RouterClient::new(channel(to_router.clone())),
            cache: Arc::new(MemoryCache::default()),
            signatures_per_day: setup.limits.signatures_per_day,
            plugin_texts: PluginText::Recorded,
        });
        let failed = |source| EmbeddedStartError::Store { path: party_file(&setup.data, index), source };
        parties.push(Arc::new(party.await.map_err(failed)?));
    }
    Ok(parties)
}

/// Recovers every party, and starts its worker.
async fn start_parties(
    setup: &EmbeddedSetup,
    shared: &Shared,
    parties: &[Arc<Party>],
    to_coordinator: &MemoryConnector,
    tasks: &TaskGroup,
) -> Result<(), EmbeddedStartError> {
    for (index, party) in parties.iter().enumerate() {
        let worker = Arc::new(PartyWorker::new(WorkerSetup {
            party: Arc::clone(party),
            queue: Arc::clone(&shared.queue),
            coordinators: channel(to_coordinator.clone()).into(),
        }));
        let path = party_file(&setup.data, index);
        worker.recover().await.map_err(|source| EmbeddedStartError::Store { path, source })?;
        tasks.tasks.spawn(worker.serve(vec![], tasks.token.clone(), SHUTDOWN_GRACE_PERIOD));
    }
    Ok(())
}

/// Notices when a role ends because it can't go on.
async fn watch(role: &str, work: impl Future<Output = Result<(), StoreError>>, broken: CancellationToken) {
    if let Err(error) = work.await {
        tracing::error!(role, error = %chain(&error), "role ended");
        broken.cancel();
    }
}

/// A secret that only this process knows.
fn join_key() -> Result<JoinKey, LocalError> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(secret.as_mut_slice()).map_err(|e| LocalError::Runtime(std::io::Error::other(e)))?;
    JoinKey::new(&Zeroizing::new(hex::encode(secret.as_slice())))
        .map_err(|e| LocalError::Runtime(std::io::Error::other(e)))
}
