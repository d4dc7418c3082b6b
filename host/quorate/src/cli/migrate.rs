//! Implements `quorate migrate`: brings the schema of a database up to date, and makes the queues at RabbitMQ.

use clap::{Args, ValueEnum};
use quorate_control_store::{ACCOUNT_SCHEMA, COORDINATOR_SCHEMA};
use quorate_core::identity::SecretKey;
use quorate_net::telemetry;
use quorate_net::topics::broker_layout;
use quorate_party_store::{Crypter, PartyStore};

use super::output::CliError;
use crate::config::{Config, ConfigError};
use crate::roles::{Role, connect_to_postgres, create_broker_layout};

/// What to bring up to date.
#[derive(Args)]
pub(super) struct MigrateArguments {
    /// The kind of the database that POSTGRES_URL names, or the queues
    what: Migration,
}

#[derive(Clone, Copy, ValueEnum)]
enum Migration {
    /// Accounts, open orders and idempotency keys
    Account,
    /// Sessions, plans and reports
    Coordinator,
    /// One party's shares; needs its keys, so that a database of another party is left alone
    Party,
    /// Queues and topics at RabbitMQ: RABBITMQ_URL is that of an administrator
    Queues,
}

pub(super) async fn migrate(config: Config, arguments: MigrateArguments) -> Result<(), CliError> {
    telemetry::start(&config.log.filter, config.log.format)?;
    match arguments.what {
        Migration::Account => {
            let database = connect_to_postgres(&config.services, Role::Account).await?;
            database.migrate(&ACCOUNT_SCHEMA).await?;
        }
        Migration::Coordinator => {
            let database = connect_to_postgres(&config.services, Role::Coordinator).await?;
            database.migrate(&COORDINATOR_SCHEMA).await?;
        }
        Migration::Party => {
            let missing = |name| ConfigError::Missing { name, by: "party" };
            let master = config.roles.master.ok_or_else(|| missing("CRYPTO_MASTER_KEY"))?;
            let seed = config.roles.identity.ok_or_else(|| missing("QUORATE_IDENTITY_KEY"))?;
            let database = connect_to_postgres(&config.services, Role::Party).await?;
            PartyStore::open(database, Crypter::new(master, SecretKey::from_seed(&seed).public())).await?;
        }
        Migration::Queues => {
            let missing = |name| ConfigError::Missing { name, by: "queues" };
            let address = config.services.rabbitmq.clone().ok_or_else(|| missing("RABBITMQ_URL"))?;
            let mut parties = config.roles.parties;
            if parties.is_empty() {
                return Err(missing("QUORATE_PARTY_KEYS").into());
            }
            parties.extend(config.roles.user_party);
            let layout = broker_layout(config.services.namespace.as_str(), &parties);
            create_broker_layout(&config.services, &address, &layout).await?;
            tracing::info!(%address, parties = parties.len(), "the queues are there");
            return Ok(());
        }
    }
    tracing::info!("the schema is up to date");
    Ok(())
}
