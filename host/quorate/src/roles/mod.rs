//! Roles as processes: each connects to the services that it needs, and serves until it is told to stop.
//!
//! This is where they are wired together. Their work is in the crates of their names.

mod account;
mod connect;
mod context;
mod coordinator;
pub(crate) mod data_dir;
pub mod embedded;
mod embedded_api;
mod error;
mod listen;
mod local_databases;
mod party;
mod party_api;
mod role;
mod router;
mod task_groups;

use std::sync::Arc;

use quorate_net::clock::{Clock, SystemClock};
use quorate_net::tls_files::TlsFiles;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use context::{Context, SHUTDOWN_GRACE_PERIOD};

pub use connect::{connect_to_postgres, create_broker_layout};
pub use error::{EmbeddedStartError, ListenError, LocalError, StartError};
pub use role::Role;

/// Roles that run in this process.
pub struct RunningRoles {
    stop: CancellationToken,
    broken: CancellationToken,
    tasks: TaskTracker,
    certificates: Arc<TlsFiles>,
    party: Vec<party::RunningParty>,
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
        let for_roles = roles.iter().filter_map(|role| match role {
            Role::Coordinator => Some(("QUORATE_COORDINATOR_LISTEN", config.roles.coordinator_listen)),
            Role::Router => Some(("QUORATE_ROUTER_LISTEN", config.roles.router_listen)),
            Role::PartyApi => Some(("QUORATE_PARTY_API_GRPC_LISTEN", config.roles.party_api_grpc_listen)),
            Role::Account | Role::Party => None,
        });
        config.check_for_production(&public.collect::<Vec<_>>(), &for_roles.collect::<Vec<_>>())?;
        config.keys.check_for_roles()?;
        let (stop, broken, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        // If something below fails, what was started before stops.
        let started = stop.clone().drop_guard();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let certificates = TlsFiles::read(config.tls.files.clone())?;
        let watching = Arc::clone(&certificates).watch(Arc::clone(&clock));
        tasks.spawn(stop.clone().run_until_cancelled_owned(watching));
        let mut context = Context {
            config: &mut config,
            clock,
            certificates: Arc::clone(&certificates),
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
        Ok(Self { stop, broken, tasks, certificates, party })
    }

    /// Reads the certificates again, and the plugins of a party: new ones are installed beside those that are there.
    ///
    /// # Errors
    /// See [`StartError`]; what was there before the error stays.
    pub async fn reload(&self) -> Result<(), StartError> {
        // Neither waits for the other to be good.
        let certificates = self.certificates.reload().map(drop);
        for party in &self.party {
            party.install().await?;
        }
        Ok(certificates?)
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
