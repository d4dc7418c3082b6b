//! SQLite: one file, write-ahead log, synced at every commit.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqlitePool, Transaction};

use super::error::StoreError;
use super::handle::{Database, DatabaseKind};

/// How long a writer waits for another before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

impl Database {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn sqlite(file: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // Erased data is overwritten, not only unlinked.
            .pragma("secure_delete", "ON")
            .busy_timeout(BUSY_TIMEOUT);
        // One connection: there is little to write, and a single writer never waits for itself.
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        Ok(Self(DatabaseKind::Sqlite(pool)))
    }

    /// The connections, for tests that look behind the store.
    ///
    /// # Panics
    /// When it is a PostgreSQL database.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    #[allow(clippy::panic)]
    pub fn sqlite_pool(&self) -> &SqlitePool {
        match &self.0 {
            DatabaseKind::Sqlite(pool) => pool,
            DatabaseKind::Postgres(_) => panic!("this is not an SQLite database"),
        }
    }
}

pub(super) async fn begin(pool: &SqlitePool) -> Result<Transaction<'static, sqlx::Sqlite>, StoreError> {
    match pool.begin_with("BEGIN IMMEDIATE").await {
        // SQLite rolls back by itself when its disk is full; the library then believes that a transaction is still
        // open. A new connection knows better.
        Err(sqlx::Error::InvalidSavePointStatement) => {
            pool.acquire().await?.close().await?;
            Ok(pool.begin_with("BEGIN IMMEDIATE").await?)
        }
        begun => Ok(begun?),
    }
}
