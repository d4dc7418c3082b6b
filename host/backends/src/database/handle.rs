//! The handles of a database and of a transaction, for either database.

use std::time::Duration;

use sqlx::{PgPool, SqlitePool, Transaction};

use super::error::StoreError;

/// How long a statement may take before the database counts as gone. It is far longer than any of ours takes.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// A database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Database(pub(super) DatabaseKind);

#[derive(Clone, Debug)]
pub(super) enum DatabaseKind {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A transaction. Dropped without a commit, nothing of it has happened.
pub struct Tx(pub(super) TxKind);

pub(super) enum TxKind {
    Sqlite(Transaction<'static, sqlx::Sqlite>),
    Postgres(Transaction<'static, sqlx::Postgres>),
}

/// Waits for the database no longer than a statement may take.
pub(super) async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(STATEMENT_TIMEOUT, work)
        .await
        .unwrap_or(Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)))
}
