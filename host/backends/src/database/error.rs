//! Why a database, or a store that is built on one, did not do what it was asked.

/// Why a transaction did not happen. Nothing of it has.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refuses, or is damaged: the operator must look into it.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    /// The database can't be reached, is just being started or stopped, or has no room (disk, memory, connections): try
    /// again later.
    #[error("the database does not answer, or has no room")]
    Unavailable(#[source] sqlx::Error),
    /// A later version has written this database.
    #[error(
        "the database is of a newer version of Quorate, whose migration {0} this one does not know: run that version or a later one; nothing was changed"
    )]
    Newer(i64),
    /// The database has the schema of something else.
    #[error(
        "this is the database of another role, or its migration {0} was changed: each role has a database of its own (POSTGRES_URL); \
         nothing was changed"
    )]
    Another(i64),
    /// The schema could not be brought up to date.
    #[error("the database's schema can't be brought up to date")]
    Schema(#[source] sqlx::migrate::MigrateError),
    /// The master key is not the one that sealed this database.
    #[error(
        "the master key (CRYPTO_MASTER_KEY) is not the one that sealed this database: nothing was changed"
    )]
    WrongMasterKey,
    /// The database was sealed by another party.
    #[error(
        "the master key fits, but this database is of a party with another identity (QUORATE_IDENTITY_KEY): nothing was changed"
    )]
    WrongIdentity,
    /// A row was changed, or moved here from elsewhere.
    #[error("a sealed row does not open: {0} was changed or moved")]
    Sealed(&'static str),
    /// The row keys are not those of this database.
    #[error(
        "none of the row keys (QUORATE_ACCOUNT_ROW_KEYS) is the one with which account services have written this database: \
         nothing was changed"
    )]
    WrongRowKeys,
    /// A row whose MAC or certificate does not verify.
    #[error(
        "a row of {0} does not verify: another program has changed or written it, or it was written under a key that is no \
         longer configured"
    )]
    Altered(&'static str),
    /// A row that does not decode: it was damaged, or another program wrote it.
    #[error("a stored row does not decode: {0}")]
    Malformed(&'static str),
    /// The call does not fit what is stored: a bug of the caller.
    #[error("{0}")]
    Conflict(&'static str),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_unavailable(&error) { Self::Unavailable(error) } else { Self::Database(error) }
    }
}

/// Whether the error says that the database can't be used now, and nothing about the statement.
pub(super) fn is_unavailable(error: &sqlx::Error) -> bool {
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
