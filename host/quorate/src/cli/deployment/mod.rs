//! `quorate deployment`: makes and checks the files that a deployment with compose consists of, and does for
//! `deploy.sh` all that is not a call of the container engine.

pub(super) mod check;
mod engine_facts;
mod env_file;
mod files;
mod finding;
mod init;
mod layout;
mod postgres;
mod rabbitmq;
mod redis;
mod settings;
mod test_api;
#[cfg(test)]
mod testing;
mod wait;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use layout::{DATABASES, DatabaseKind};
use settings::DeploymentSettings;

use super::output::{CliError, print};
use crate::config::{Config, ConfigError};

/// An action for a deployment.
#[derive(Args)]
pub(super) struct DeploymentArguments {
    #[command(subcommand)]
    command: DeploymentCommand,
}

#[derive(Subcommand)]
enum DeploymentCommand {
    /// Write .env with fresh secrets, and secrets/ with the keys of every party; nothing is overwritten
    Init(init::InitArguments),
    /// Check settings, secrets and the machine before anything is started; `quorate check` is the same
    Check(check::CheckArguments),
    /// Write the files in secrets/shared, and print what compose needs besides .env
    Files(files::FilesArguments),
    /// Print RabbitMQ's definitions: users, their rights, exchanges
    RabbitmqDefinitions(Folder),
    /// Print Redis's users, and what they may do
    RedisUsers(Folder),
    /// Print the script that makes databases and their roles
    PostgresRoles,
    /// Print the script that tells whether an image of PostgreSQL fits the data in /data
    PostgresData,
    /// Print the script that prints the newest migration of each database
    PostgresSchemas,
    /// Print all containers, each with the secrets that it is given
    Layout,
    /// Print the names of the databases, a line each
    Databases(DatabasesArguments),
    /// Wait until containers are healthy, as standard input tells
    Wait(wait::WaitArguments),
    /// Create an account and sign with it, at a deployment on this machine
    TestApi(test_api::TestApiArguments),
}

/// Where a deployment is.
#[derive(Args)]
struct Folder {
    /// The folder of the deployment
    #[arg(long, default_value = ".")]
    folder: PathBuf,
}

impl Folder {
    fn settings(&self) -> Result<DeploymentSettings, CliError> {
        DeploymentSettings::read(&self.folder).map_err(|finding| finding.to_string().into())
    }
}

/// Which databases.
#[derive(Args)]
struct DatabasesArguments {
    /// Leave out the database of this party
    #[arg(long)]
    without: Option<String>,
}

pub(super) async fn deployment(
    environment: Result<Config, ConfigError>,
    arguments: &DeploymentArguments,
) -> Result<(), CliError> {
    tokio::spawn(exit_when_interrupted());
    match &arguments.command {
        DeploymentCommand::Init(arguments) => init::init(arguments)?,
        DeploymentCommand::Check(arguments) => check::check(environment, arguments)?,
        DeploymentCommand::Files(arguments) => files::files(arguments)?,
        DeploymentCommand::RabbitmqDefinitions(folder) => {
            print(&rabbitmq::definitions_of(&folder.settings()?)?)?;
        }
        DeploymentCommand::RedisUsers(folder) => print(&redis::users_of(&folder.settings()?)?)?,
        DeploymentCommand::PostgresRoles => print(&postgres::roles_script())?,
        DeploymentCommand::PostgresData => print(postgres::DATA_SCRIPT)?,
        DeploymentCommand::PostgresSchemas => print(&postgres::schemas_script())?,
        DeploymentCommand::Layout => print(&layout::describe())?,
        DeploymentCommand::Databases(arguments) => {
            print(&databases(arguments.without.as_deref())?.join("\n"))?
        }
        DeploymentCommand::Wait(arguments) => wait::wait(arguments)?,
        DeploymentCommand::TestApi(arguments) => test_api::test_api(arguments).await?,
    }
    Ok(())
}

/// Ends the process at an interrupt. The first process of a container, which this may be, is not ended by a signal
/// that it does not handle.
async fn exit_when_interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = signals else { return };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    std::process::exit(INTERRUPTED_EXIT_CODE);
}

/// As a shell reports a program that an interrupt has ended.
const INTERRUPTED_EXIT_CODE: i32 = 130;

/// The databases to back up and restore. That of a party can be left out, so that a party that was taken over can't
/// keep the others from a backup.
fn databases(without: Option<&str>) -> Result<Vec<&'static str>, CliError> {
    let names = DATABASES.iter().map(|database| database.name);
    let Some(without) = without else { return Ok(names.collect()) };
    let of_parties = DATABASES.iter().filter(|database| database.kind == DatabaseKind::Party);
    let of_parties: Vec<&str> = of_parties.map(|database| database.name).collect();
    if !of_parties.contains(&without) {
        let known = of_parties.join(", ");
        return Err(
            format!("no party has a database {without}; one of these can be left out: {known}").into()
        );
    }
    Ok(names.filter(|name| *name != without).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_of_a_party_can_be_left_out() {
        assert_eq!(databases(None).unwrap(), DATABASES.map(|database| database.name));
        assert_eq!(
            databases(Some("party_2")).unwrap(),
            ["account", "coordinator", "party_1", "party_3", "user_party"]
        );
        for wrong in ["account", "coordinator", "party_4", ""] {
            assert!(databases(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
