//! Roles as processes: each connects to the services that it needs, and serves until it is told to stop.
//!
//! This is where they are wired together. Their work is in the crates of their names.

mod account;
mod connect;
mod coordinator;
pub(crate) mod data_dir;
pub mod embedded;
mod listen;
mod party;
mod party_api;
mod router;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_account::TimeLimits;
use quorate_backends::database::StoreError;
use quorate_backends::queue::QueueError;
use quorate_net::clock::{Clock, SystemClock};
use quorate_net::tls::TlsError;
use quorate_party::admin::SocketError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, ConfigError, LimitsConfig};

pub use connect::connect_to_postgres;

/// How long requests and sessions may still take when a process is told to stop.
const SHUTDOWN_GRACE_PERIOD: Duration = Duration::from_secs(12);

/// A role that can be a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Role {
    Account,
    Coordinator,
    Router,
    Party,
    PartyApi,
}

impl Role {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Coordinator => "coordinator",
            Self::Router => "router",
            Self::Party => "party",
            Self::PartyApi => "party-api",
        }
    }
}

/// Why a process does not start: the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something is not configured.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address is not free, or not ours.
    #[error("can't listen on {address}: another process may be using the port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// The database can't be used.
    #[error("PostgreSQL at {address} can't be used")]
    Postgres {
        /// Which.
        address: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The queue can't be used.
    #[error("RabbitMQ at {address} can't be used")]
    RabbitMq {
        /// Which.
        address: String,
        /// Why.
        #[source]
        source: QueueError,
    },
    /// TLS can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Own files or the sandbox can't be used.
    #[error(transparent)]
    Local(#[from] data_dir::EmbeddedStartError),
    /// The operator's socket can't be used.
    #[error(transparent)]
    Admin(#[from] SocketError),
    /// A plugin can't be used.
    #[error("{path}: this plugin can't be used")]
    Plugin {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The clock stands behind a time that the party has already seen.
    #[error(
        "the clock of this machine is {0} seconds behind the latest time that this party has seen: set the clock; no \
         session would start"
    )]
    ClockBehind(u64),
    /// The party's own key is not among those that all parties pin.
    #[error(
        "QUORATE_IDENTITY_KEY: its public key {0} is not in QUORATE_PARTY_KEYS: no peer would work with this party"
    )]
    NotPinned(String),
    /// Another key is the one that all pin as the user's party's.
    #[error(
        "QUORATE_IDENTITY_KEY: its public key {0} is not QUORATE_USER_PARTY_KEY: no peer would work with this party"
    )]
    NotUserParty(String),
    /// Two roles of one process would be one party twice.
    #[error("a process has one identity: run `party` and `party-api` as two processes")]
    TwoParties,
    /// The machine has no randomness.
    #[error("the machine has no randomness")]
    NoRandomness,
}

/// Roles that run in this process.
pub struct RunningRoles {
    stop: CancellationToken,
    broken: CancellationToken,
    tasks: TaskTracker,
    party: Vec<party::RunningParty>,
}

/// The context of every role in a process.
struct Context<'a> {
    config: &'a mut Config,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    broken: CancellationToken,
    tasks: TaskTracker,
}

impl RunningRoles {
    /// Starts roles.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing goes on running.
    pub async fn start(mut config: Config, roles: &[Role]) -> Result<Self, StartError> {
        if roles.contains(&Role::Party) && roles.contains(&Role::PartyApi) {
            return Err(StartError::TwoParties);
        }
        let public = roles.iter().filter_map(|role| match role {
            Role::Account => Some(("QUORATE_LISTEN", config.http.listen)),
            Role::PartyApi => Some(("QUORATE_PARTY_API_LISTEN", config.roles.party_api_listen)),
            Role::Coordinator | Role::Router | Role::Party => None,
        });
        config.check_for_production(&public.collect::<Vec<_>>())?;
        let (stop, broken, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        // If something below fails, what was started before stops.
        let started = stop.clone().drop_guard();
        let mut context = Context {
            config: &mut config,
            clock: Arc::new(SystemClock),
            stop: stop.clone(),
            broken: broken.clone(),
            tasks: tasks.clone(),
        };
        let mut party = Vec::new();
        for role in roles {
            match role {
                Role::Account => account::start(&mut context).await?,
                Role::Coordinator => coordinator::start(&mut context).await?,
                Role::Router => router::start(&mut context).await?,
                Role::Party => party.push(party::start(&mut context).await?),
                Role::PartyApi => party.push(party_api::start(&mut context).await?),
            }
        }
        drop(started.disarm());
        Ok(Self { stop, broken, tasks, party })
    }

    /// Reads the plugins of a party again: new ones are installed beside those that are there.
    ///
    /// # Errors
    /// See [`StartError`]; those that were installed before the error stay.
    pub async fn reload(&self) -> Result<(), StartError> {
        for party in &self.party {
            party.install().await?;
        }
        Ok(())
    }

    /// Waits until a role has ended because it can't go on; the log says why.
    pub async fn broken(&self) {
        self.broken.cancelled().await;
    }

    /// Stops: nothing new is taken on, what runs is finished or, after a while, aborted.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(3 * SHUTDOWN_GRACE_PERIOD, self.tasks.wait()).await.is_err() {
            tracing::error!(left = self.tasks.len(), "some tasks did not end in time");
        }
    }
}

/// The account service's time limits.
fn time_limits(config: LimitsConfig) -> TimeLimits {
    TimeLimits { sign: config.sign, shares_per_party: config.shares_per_party }
}

fn needed<T>(value: Option<T>, name: &'static str, by: Role) -> Result<T, ConfigError> {
    value.ok_or(ConfigError::Missing { name, by: by.name() })
}

fn some<T>(list: &[T], name: &'static str, by: Role) -> Result<(), ConfigError> {
    if list.is_empty() { Err(ConfigError::Missing { name, by: by.name() }) } else { Ok(()) }
}
