//! The stores on SQLite: one file each, write-ahead log, synced at every commit.

mod control;
mod party;

use std::path::Path;
use std::time::Duration;

use quorate_core::codec::{Wire, decode};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqlitePool, Transaction};

use super::StoreError;

pub use control::SqliteControlStore;
pub use party::SqlitePartyStore;

/// How long a writer waits for another before it gives up.
const BUSY: Duration = Duration::from_secs(5);

type Tx<'a> = Transaction<'a, sqlx::Sqlite>;

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

async fn open_pool(file: &Path) -> Result<SqlitePool, StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // What is erased is overwritten, not only forgotten.
        .pragma("secure_delete", "ON")
        .busy_timeout(BUSY);
    // One connection: there is little to write, and a single writer never waits for itself.
    Ok(SqlitePoolOptions::new().max_connections(1).connect_with(options).await?)
}

async fn begin(pool: &SqlitePool) -> Result<Tx<'static>, StoreError> {
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

/// SQLite's integers are signed; ours are counts and times, far below 2⁶³.
fn signed(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Conflict("a number beyond 63 bits"))
}

fn unsigned(value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Malformed("a negative number"))
}

fn decoded<T: Wire>(bytes: &[u8], what: &'static str) -> Result<T, StoreError> {
    decode(bytes).map_err(|_| StoreError::Malformed(what))
}
