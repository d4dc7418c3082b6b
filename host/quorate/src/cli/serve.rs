//! Implements `quorate serve`: runs one role or several until a signal ends them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use quorate_net::telemetry::{self, chain};
use quorate_net::web::guard::ApiKeyHashes;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::output::CliError;
use crate::config::{Config, ConfigError, Environment};
use crate::roles;
use crate::roles::data_dir::api_key;
use crate::roles::embedded::{Embedded, EmbeddedSetup, read_component};

/// The roles to serve.
#[derive(Args)]
pub(super) struct ServeArguments {
    /// The roles
    #[arg(required = true)]
    roles: Vec<RoleArgument>,
    /// On SQLite, with everything else in this process
    #[arg(long)]
    embedded: bool,
    /// Where the API listens (QUORATE_LISTEN; 127.0.0.1:4000)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where databases and keys are kept (QUORATE_DATA; quorate-data)
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// How many parties, 2 to 16 (QUORATE_PARTIES; 3)
    #[arg(long, value_name = "N")]
    parties: Option<u16>,
    /// A component to run; may be given several times (QUORATE_PLUGIN_FILES)
    #[arg(long = "plugin", value_name = "FILE")]
    plugins: Vec<PathBuf>,
}

/// A role, as it is named on the command line.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RoleArgument {
    /// All of them, in one process (with --embedded)
    All,
    /// The API that backends call
    Account,
    /// Makes sessions out of orders
    Coordinator,
    /// Carries messages between parties
    Router,
    /// Holds one party's shares
    Party,
    /// Makes users' shares, and signs with those that users bring
    PartyApi,
}

/// The reactions of a process to signals.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From the first moment on: a signal during the start waits for its end.
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until the process is to end.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

pub(super) async fn serve(config: Config, arguments: ServeArguments) -> Result<(), CliError> {
    telemetry::start(&config.log.filter, config.log.format)?;
    for name in &config.unrecognised {
        tracing::warn!(name, "unrecognised setting ignored");
    }
    let signals = Signals::listen()?;
    match (arguments.roles.contains(&RoleArgument::All), arguments.embedded) {
        (true, true) if config.environment == Environment::Production => Err(ConfigError::Embedded.into()),
        (true, true) if arguments.roles.len() == 1 => serve_embedded(config, arguments, signals).await,
        (false, false) => serve_roles(config, &arguments.roles, signals).await,
        (true, false) => {
            Err("`all` runs on SQLite in one process: say so with --embedded, or name the roles".into())
        }
        _ => Err("--embedded goes with `all`, and `all` goes alone".into()),
    }
}

async fn serve_roles(config: Config, named: &[RoleArgument], mut signals: Signals) -> Result<(), CliError> {
    let role = |role: &RoleArgument| match role {
        RoleArgument::All => None,
        RoleArgument::Account => Some(roles::Role::Account),
        RoleArgument::Coordinator => Some(roles::Role::Coordinator),
        RoleArgument::Router => Some(roles::Role::Router),
        RoleArgument::Party => Some(roles::Role::Party),
        RoleArgument::PartyApi => Some(roles::Role::PartyApi),
    };
    let mut roles: Vec<_> = named.iter().filter_map(role).collect();
    // Named twice it is there once, wherever it stands.
    roles.sort_unstable();
    roles.dedup();
    let running = tokio::select! {
        running = roles::RunningRoles::start(config, &roles) => running?,
        // A role that waits for an unavailable service can be told to stop.
        () = signals.end() => return Ok(()),
    };
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            () = running.broken() => {
                running.stop().await;
                return Err("a role can't go on: the log says which and why".into());
            }
            _ = signals.hangup.recv() => {
                // What is not there or not good changes nothing: what was there before goes on.
                if let Err(error) = running.reload().await {
                    tracing::error!(error = %chain(&error), "failed to reload certificates or plugins");
                }
            }
        }
    }
    tracing::info!("stopping: running sessions are finished or aborted");
    running.stop().await;
    Ok(())
}

async fn serve_embedded(
    config: Config,
    arguments: ServeArguments,
    mut signals: Signals,
) -> Result<(), CliError> {
    let data = arguments.data.unwrap_or(config.embedded.data);
    let plugins = if arguments.plugins.is_empty() { config.embedded.plugins } else { arguments.plugins };
    let keys = match config.keys.sign {
        Some(keys) => keys,
        None => kept_key(&data)?,
    };
    let embedded = Embedded::start(EmbeddedSetup {
        plugin_policy: config.plugins,
        data,
        parties: arguments.parties.unwrap_or(config.embedded.parties),
        listen: arguments.listen.unwrap_or(config.http.listen),
        keys,
        allowed: config.http.allowed,
        rates: config.http.rates,
        proxies: config.http.proxies,
        limits: config.limits,
        plugins: plugins.clone(),
    })
    .await?;
    tracing::info!(address = %embedded.address(), "API ready; its description is at /openapi.json");
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            () = embedded.broken() => {
                embedded.stop().await;
                return Err("a role can't go on: the log says which and why".into());
            }
            _ = signals.hangup.recv() => {
                // A component that is not there or not good changes nothing: the others go on.
                if let Err(failure) = reload(&embedded, &plugins).await {
                    tracing::error!(error = %chain(failure.as_ref()), "failed to reload the plugins");
                }
            }
        }
    }
    tracing::info!("stopping: running sessions are finished or aborted");
    embedded.stop().await;
    Ok(())
}

/// Reads the components again: new ones are installed beside those that are there.
async fn reload(embedded: &Embedded, plugins: &[PathBuf]) -> Result<(), CliError> {
    for path in plugins {
        embedded.install(&read_component(path)?).await?;
    }
    Ok(())
}

/// The API key of a deployment that was given none: made once, and kept where only its owner can read it.
fn kept_key(data: &Path) -> Result<ApiKeyHashes, CliError> {
    let (path, key) = api_key(data)?;
    tracing::warn!(file = %path.display(), "MPC_API_KEY is not set: callers find the key in this file");
    let unusable =
        || format!("{}: this is not an API key; delete the file to have a new one made", path.display());
    ApiKeyHashes::of_keys([key.as_str()]).map_err(|_| unusable().into())
}
