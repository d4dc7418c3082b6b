//! A database: SQLite for a single process, PostgreSQL for many. What is different between the two ends here; the
//! statements above are the same text for both.
//!
//! Placeholders are written `$1`, truth values `TRUE` and `FALSE`, both of which the two understand alike. Columns are
//! read by their names.

mod error;
mod handle;
mod postgres;
mod sqlite;
mod statement;

use sqlx::SqlStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

pub use error::StoreError;
pub use handle::{Database, Tx};
pub use postgres::{PostgresAddress, PostgresAddressError};
pub use statement::{Column, On, Row, SqlValue, Statement, decoded, signed, sql};

use error::is_unavailable;
use handle::{DatabaseKind, TxKind, in_time};

/// The tables of a store, as migrations of either database: name and SQL, in the order in which they are applied.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// For SQLite.
    pub sqlite: &'static [(&'static str, &'static str)],
    /// For PostgreSQL.
    pub postgres: &'static [(&'static str, &'static str)],
}

impl Schema {
    /// The number of the last migration of PostgreSQL that this program knows: it does not work on a database that has
    /// seen a later one.
    #[must_use]
    pub fn newest(&self) -> i64 {
        migrator(self.postgres).iter().map(|migration| migration.version).max().unwrap_or_default()
    }
}

/// Migrations are numbered from 1, in their order.
fn migrator(migrations: &[(&'static str, &'static str)]) -> Migrator {
    let migration = |(number, &(name, statements)): (i64, &(&'static str, &'static str))| {
        let statements = SqlStr::from_static(statements);
        Migration::new(number, name.into(), MigrationType::Simple, statements, false)
    };
    Migrator::with_migrations((1..).zip(migrations).map(migration).collect())
}

impl Database {
    /// Begins a transaction that changes something. Those about the same `subject` come one after the other; on SQLite
    /// all do.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn begin(&self, subject: &[u8]) -> Result<Tx, StoreError> {
        let begun = async {
            Ok(Tx(match &self.0 {
                DatabaseKind::Sqlite(pool) => TxKind::Sqlite(sqlite::begin(pool).await?),
                DatabaseKind::Postgres(pool) => TxKind::Postgres(postgres::begin(pool, subject).await?),
            }))
        };
        in_time(begun).await
    }

    /// Brings the schema up to date. Processes that start at the same time wait for each other.
    ///
    /// # Errors
    /// [`StoreError::Newer`] when a later version has written the database, [`StoreError::Another`] when it is not of this schema,
    /// [`StoreError::Schema`] when a migration fails.
    pub async fn migrate(&self, schema: &Schema) -> Result<(), StoreError> {
        let migrated = match &self.0 {
            DatabaseKind::Sqlite(pool) => migrator(schema.sqlite).run(pool).await,
            DatabaseKind::Postgres(pool) => migrator(schema.postgres).run(pool).await,
        };
        migrated.map_err(|error| match error {
            MigrateError::VersionMissing(migration) => StoreError::Newer(migration),
            MigrateError::VersionMismatch(migration) => StoreError::Another(migration),
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)
                if is_unavailable(&error) =>
            {
                StoreError::Unavailable(error)
            }
            error => StoreError::Schema(error),
        })
    }

    /// Whether there is a table of this name.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn has_table(&self, name: &str) -> Result<bool, StoreError> {
        let question = match &self.0 {
            DatabaseKind::Sqlite(_) => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1",
            DatabaseKind::Postgres(_) => "SELECT 1 WHERE to_regclass($1) IS NOT NULL",
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
            DatabaseKind::Sqlite(pool) => pool.close().await,
            DatabaseKind::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    /// Makes what the transaction has changed durable.
    ///
    /// # Errors
    /// See [`StoreError`]: nothing of it has happened, or it is not known whether it has.
    pub async fn commit(self) -> Result<(), StoreError> {
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
