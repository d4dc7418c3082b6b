//! The store: what must survive.
//!
//! A [`PartyStore`] is what one party must not forget; a [`ControlStore`] is what account service and coordinator must
//! not. Both keep it in a [`Database`]: SQLite or PostgreSQL. Every method that changes something is one transaction, durable when it returns. What has to happen at most once (a session, a promise,
//! an activation, the run for an idempotency key) is decided by the store, so that it holds for all replicas.

mod control;
mod crypter;
mod database;
mod party;

#[cfg(test)]
mod conformance;

pub use control::{
    Account, AccountState, ControlStore, IdempotencyKey, KEY_KEPT, NewSession, OpenOrder, RUN_HELD, Recorded,
    Run, Running, SESSION_KEPT, SessionRecord, SessionStatus,
};
pub use crypter::{Crypter, MasterKey, MasterKeyError};
pub use database::{Database, PostgresAddress, PostgresAddressError, Schema};
pub use party::{
    COUNTER_SETTLES, Claim, Claimed, Confirmed, Delivery, DeliveryState, Entries, Handover, Knowledge, Made,
    PartyStore, Started, Unreported, WaitingPlan, Which,
};

use quorate_core::codec::{Wire, decode};

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
    /// A row that makes no sense: damaged, or written by something else.
    #[error("a stored row does not decode: {0}")]
    Malformed(&'static str),
    /// The call does not fit what is stored: a bug of the caller.
    #[error("{0}")]
    Conflict(&'static str),
}

/// The databases' integers are signed; ours are counts and times, far below 2⁶³.
fn signed(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Conflict("a number beyond 63 bits"))
}

fn decoded<T: Wire>(bytes: &[u8], what: &'static str) -> Result<T, StoreError> {
    decode(bytes).map_err(|_| StoreError::Malformed(what))
}
