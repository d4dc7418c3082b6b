//! A party as a process.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use quorate_backends::cache::MemoryCache;
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_net::router_client::RouterClient;
use quorate_net::server::{Callers, serve};
use quorate_net::web::health;
use quorate_net::web::health::Health;
use quorate_party::admin::{self, UnixSocket};
use quorate_party::worker::{PartyWorker, WorkerSetup};
use quorate_party::{Party, PartySetup};
use quorate_party_store::{Crypter, PartyStore};
use quorate_runtime::{PluginText, Runtime};
use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

use super::context::{Context, SHUTDOWN_GRACE_PERIOD, needed, some};
use super::data_dir;
use super::error::StartError;
use super::role::Role;
use crate::config::{Environment, PluginsConfig, Seed};

/// A party that runs, and its sandbox.
pub(super) struct RunningParty {
    party: Arc<Party>,
    runtime: Runtime,
    plugins: Vec<PathBuf>,
    policy: PluginsConfig,
    data: PathBuf,
    /// What compiled code is authenticated with.
    cache_key: Seed,
}

/// How long compiling a component may take, on a slow machine with much else to do.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(120);

/// Has a component compiled by another process, which gives its memory back: see [`crate::cli`]. What goes wrong
/// there shows again when the component is loaded.
async fn compile_apart(data: &Path, key: &Seed, component: &Path) {
    let Ok(program) = std::env::current_exe() else { return };
    let mut compiling = tokio::process::Command::new(program);
    compiling.env_clear().env("QUORATE_DATA", data).args(["compile", "--key-from-stdin"]).arg(component);
    compiling.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let compiled = async {
        let mut compiling = compiling.spawn()?;
        // The key is in no argument and in no environment: others could read them.
        if let Some(mut stdin) = compiling.stdin.take() {
            stdin.write_all(Zeroizing::new(hex::encode(key.as_slice())).as_bytes()).await?;
        }
        compiling.wait().await
    };
    match tokio::time::timeout(COMPILE_TIMEOUT, compiled).await {
        Ok(Ok(status)) if status.success() => {}
        other => tracing::warn!(component = %component.display(), ?other, "component not compiled ahead"),
    }
}

impl RunningParty {
    /// Lets new sessions run on the configured components.
    pub(super) async fn install(&self) -> Result<(), StartError> {
        for path in &self.plugins {
            let failed = |source| StartError::Plugin { path: path.clone(), source };
            let bytes = std::fs::read(path).map_err(|error| failed(error.into()))?;
            self.policy.check(path, &bytes)?;
            compile_apart(&self.data, &self.cache_key, path).await;
            let plugin = self.runtime.load(&bytes, &self.policy.grants).await;
            let plugin = plugin.map_err(|error| failed(error.into()))?;
            match self.party.install(&plugin) {
                Ok(()) => tracing::info!(?plugin, "component installed"),
                Err(reason) => tracing::error!(?plugin, %reason, "component not installed"),
            }
        }
        Ok(())
    }
}

pub(super) async fn start(context: &mut Context<'_>) -> Result<RunningParty, StartError> {
    let by = Role::Party;
    let identity = identity(context, by)?;
    if !context.config.roles.parties.contains(&identity) {
        return Err(StartError::NotPinned(identity.to_string()));
    }
    let address = context.config.roles.party_listen;
    let port = context.listen(address, Callers::Anybody).await?;
    let Prepared { running, setup, health } = prepare(context, by).await?;
    let worker = Arc::new(PartyWorker::new(setup));
    let unreported = worker.recover_unreported().await.map_err(|error| context.store_failed(error))?;
    context.tasks.spawn(port.serve(health::routes(health), context.stop.clone(), SHUTDOWN_GRACE_PERIOD));
    context.tasks.spawn(worker.serve(unreported, context.stop.clone(), SHUTDOWN_GRACE_PERIOD));
    tracing::info!(%identity, replica = context.config.roles.replica, "party ready");
    Ok(running)
}

/// The public side of this process's identity key.
pub(super) fn identity(context: &Context<'_>, by: Role) -> Result<PublicKey, StartError> {
    let seed = needed(context.config.roles.identity.clone(), "QUORATE_IDENTITY_KEY", by)?;
    Ok(SecretKey::from_seed(&seed).public())
}

/// A party and what it works with, before it serves anything.
pub(super) struct Prepared {
    pub(super) running: RunningParty,
    pub(super) setup: WorkerSetup,
    pub(super) health: Health,
}

/// Makes a party that has its plugins.
pub(super) async fn prepare(context: &mut Context<'_>, by: Role) -> Result<Prepared, StartError> {
    let seed = needed(context.config.roles.identity.clone(), "QUORATE_IDENTITY_KEY", by)?;
    // The key is taken once: a second party needs a process of its own.
    let master = needed(context.config.roles.master.take(), "CRYPTO_MASTER_KEY", by)?;
    let roles = &context.config.roles;
    some(&roles.parties, "QUORATE_PARTY_KEYS", by)?;
    some(&roles.originators, "QUORATE_ORIGINATORS", by)?;
    some(&roles.coordinators, "QUORATE_COORDINATORS", by)?;
    some(&roles.routers, "QUORATE_ROUTERS", by)?;
    let identity = identity(context, by)?;
    let coordinators = context.replicas(&roles.coordinators);
    let routers = context.replicas(&roles.routers);
    let cache_key = master.compile_cache_key();
    let memory = context.config.limits.sandbox_memory;
    let runtime = data_dir::sandbox(&context.config.embedded.data, cache_key.clone(), memory)?;
    let database = context.postgres(by).await?;
    let store = PartyStore::open(database.clone(), Crypter::new(master, identity)).await;
    let store = store.map_err(|error| context.store_failed(error))?;
    let queue = context.rabbitmq(by).await?;
    // Without Redis components keep their values in this process.
    let cache = context.cache().await?.unwrap_or_else(|| Arc::new(MemoryCache::default()));
    let roles = &context.config.roles;
    let party = Party::new(PartySetup {
        seed,
        originators: roles.originators.clone(),
        pinned: roles.all_parties(),
        minimum_plugins: context.config.plugins.minimum.clone(),
        store,
        replica: roles.replica.clone(),
        clock: context.clock.clone(),
        router: RouterClient::new(routers),
        cache,
        signatures_per_day: context.config.limits.signatures_per_day,
        plugin_texts: match context.config.environment {
            Environment::Development => PluginText::Recorded,
            Environment::Production => PluginText::Discarded,
        },
    });
    let party = Arc::new(party.await.map_err(|error| context.store_failed(error))?);
    let plugins = context.config.embedded.plugins.clone();
    let data = context.config.embedded.data.clone();
    let policy = context.config.plugins.clone();
    let running = RunningParty { party: Arc::clone(&party), runtime, plugins, policy, data, cache_key };
    running.install().await?;
    let socket = UnixSocket::bind(&context.config.admin_socket()).await?;
    let acts = admin::service(Arc::clone(&party));
    context.tasks.spawn(serve(socket, acts, Callers::Roles, context.stop.clone(), SHUTDOWN_GRACE_PERIOD));
    let setup = WorkerSetup { party: Arc::clone(&party), queue: queue.clone(), coordinators };
    let health = Health::of(by.name()).with_database(database).with_queue(queue);
    let health = health.with_trouble(move || party.trouble_text());
    Ok(Prepared { running, setup, health })
}
