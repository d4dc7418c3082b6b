//! Implements `quorate migrate`: brings the schema of a database up to date.

use clap::{Args, ValueEnum};
use quorate_control_store::{ACCOUNT_SCHEMA, COORDINATOR_SCHEMA};
use quorate_core::identity::SecretKey;
use quorate_net::telemetry;
use quorate_party_store::{Crypter, PartyStore};

use super::output::CliError;
use crate::config::{Config, ConfigError};
use crate::roles::{Role, connect_to_postgres};

/// Which database.
#[derive(Args)]
pub(super) struct MigrateArguments {
    /// The kind of the database that POSTGRES_URL names
    database: SchemaKind,
}

#[derive(Clone, Copy, ValueEnum)]
enum SchemaKind {
    /// Accounts, open orders and idempotency keys
    Account,
    /// Sessions, plans and reports
    Coordinator,
    /// One party's shares; needs its keys, so that a database of another party is left alone
    Party,
}

pub(super) async fn migrate(config: Config, arguments: MigrateArguments) -> Result<(), CliError> {
    telemetry::start(&config.log.filter, config.log.format)?;
    match arguments.database {
        SchemaKind::Account => {
            let database = connect_to_postgres(&config.services, Role::Account).await?;
            database.migrate(&ACCOUNT_SCHEMA).await?;
        }
        SchemaKind::Coordinator => {
            let database = connect_to_postgres(&config.services, Role::Coordinator).await?;
            database.migrate(&COORDINATOR_SCHEMA).await?;
        }
        SchemaKind::Party => {
            let missing = |name| ConfigError::Missing { name, by: "party" };
            let master = config.roles.master.ok_or_else(|| missing("CRYPTO_MASTER_KEY"))?;
            let seed = config.roles.identity.ok_or_else(|| missing("QUORATE_IDENTITY_KEY"))?;
            let database = connect_to_postgres(&config.services, Role::Party).await?;
            PartyStore::open(database, Crypter::new(master, SecretKey::from_seed(&seed).public())).await?;
        }
    }
    tracing::info!("the schema is up to date");
    Ok(())
}
