//! A database: SQLite for a single process, PostgreSQL for many. What is different between the two ends here; the
//! statements above are the same text for both.
//!
//! Placeholders are written `$1`, truth values `TRUE` and `FALSE`, both of which the two understand alike. Columns are
//! read by their names.

mod postgres;
mod sqlite;
mod statement;

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{PgPool, SqlitePool, Transaction};

use super::StoreError;

pub use postgres::{PostgresAddress, PostgresAddressError};
pub(super) use statement::{Row, Statement, sql};

/// How long a statement may take before the database counts as gone. It is far longer than any of ours takes.
const ANSWER: Duration = Duration::from_secs(10);

/// A database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Database(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A transaction. Dropped without a commit, nothing of it has happened.
pub(super) struct Tx(TxKind);

enum TxKind {
    Sqlite(Transaction<'static, sqlx::Sqlite>),
    Postgres(Transaction<'static, sqlx::Postgres>),
}

/// The schemas that we bring up to date.
#[derive(Clone, Copy, Debug)]
pub enum Schema {
    /// One party's shares.
    Party,
    /// Accounts and sessions.
    Control,
}

impl Schema {
    /// The number of the last migration of PostgreSQL that this program knows: it does not work on a database that has
    /// seen a later one.
    #[must_use]
    pub fn newest(self) -> i64 {
        self.on_postgres().iter().map(|migration| migration.version).max().unwrap_or_default()
    }

    fn on_postgres(self) -> Migrator {
        match self {
            Self::Party => sqlx::migrate!("../../migrations/party/postgres"),
            Self::Control => sqlx::migrate!("../../migrations/control/postgres"),
        }
    }

    fn on_sqlite(self) -> Migrator {
        match self {
            Self::Party => sqlx::migrate!("../../migrations/party/sqlite"),
            Self::Control => sqlx::migrate!("../../migrations/control/sqlite"),
        }
    }
}

impl Database {
    /// Begins a transaction that changes something. Those about the same `subject` come one after the other; on SQLite
    /// all do.
    pub(super) async fn begin(&self, subject: &[u8]) -> Result<Tx, StoreError> {
        let begun = async {
            Ok(Tx(match &self.0 {
                Kind::Sqlite(pool) => TxKind::Sqlite(sqlite::begin(pool).await?),
                Kind::Postgres(pool) => TxKind::Postgres(postgres::begin(pool, subject).await?),
            }))
        };
        in_time(begun).await
    }

    /// Brings the schema up to date. Processes that start at the same time wait for each other.
    pub(super) async fn migrate(&self, schema: Schema) -> Result<(), StoreError> {
        let migrated = match &self.0 {
            Kind::Sqlite(pool) => schema.on_sqlite().run(pool).await,
            Kind::Postgres(pool) => schema.on_postgres().run(pool).await,
        };
        migrated.map_err(|error| match error {
            MigrateError::VersionMissing(migration) => StoreError::Newer(migration),
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) if is_away(&error) => {
                StoreError::Unavailable(error)
            }
            error => StoreError::Schema(error),
        })
    }

    /// Whether there is a table of this name.
    pub(super) async fn has_table(&self, name: &str) -> Result<bool, StoreError> {
        let question = match &self.0 {
            Kind::Sqlite(_) => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1",
            Kind::Postgres(_) => "SELECT 1 WHERE to_regclass($1) IS NOT NULL",
        };
        Ok(sql(question).bind(name).fetch_optional(self).await?.is_some())
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sql("SELECT 1 AS one").fetch_optional(self).await.map(drop)
    }

    /// Closes all connections.
    pub async fn close(&self) {
        match &self.0 {
            Kind::Sqlite(pool) => pool.close().await,
            Kind::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        let committed = async {
            match self.0 {
                TxKind::Sqlite(tx) => tx.commit().await?,
                TxKind::Postgres(tx) => tx.commit().await?,
            }
            Ok(())
        };
        in_time(committed).await
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(ANSWER, work)
        .await
        .unwrap_or(Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)))
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_away(&error) { Self::Unavailable(error) } else { Self::Database(error) }
    }
}

/// Whether the error says that the database can't be used now, and nothing about the statement.
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // Connection exceptions, no room (disk, memory, connections), and a server that is being stopped or started.
        sqlx::Error::Database(refused) => {
            refused.code().is_some_and(|code| ["08", "53", "57P"].iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}
