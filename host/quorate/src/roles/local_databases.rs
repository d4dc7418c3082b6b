//! The databases of an embedded deployment: files in its data folder.

use std::path::{Path, PathBuf};

use quorate_backends::database::Database;
use quorate_control_store::{AccountStore, RowKeys, SessionStore};
use quorate_core::identity::PublicKey;
use quorate_party_store::{Crypter, MasterKey, PartyStore};

use super::error::EmbeddedStartError;

/// The database of the account service.
pub(super) const ACCOUNT_FILE: &str = "account.db";

/// The database of the coordinator.
pub(super) const COORDINATOR_FILE: &str = "coordinator.db";

/// The database of a party, of which 0 is the first.
pub(super) fn party_file(data: &Path, index: usize) -> PathBuf {
    data.join(format!("party-{}.db", index + 1))
}

pub(super) async fn open_accounts(data: &Path, keys: RowKeys) -> Result<AccountStore, EmbeddedStartError> {
    let path = data.join(ACCOUNT_FILE);
    let failed = |source| EmbeddedStartError::Store { path: path.clone(), source };
    let database = Database::sqlite(&path).await.map_err(failed)?;
    let accounts = AccountStore::open(database, keys).await.map_err(failed)?;
    // No other process answers requests: a lease on an idempotency key belongs to an earlier process.
    accounts.release_all().await.map_err(failed)?;
    Ok(accounts)
}

pub(super) async fn open_sessions(data: &Path) -> Result<SessionStore, EmbeddedStartError> {
    let path = data.join(COORDINATOR_FILE);
    let failed = |source| EmbeddedStartError::Store { path: path.clone(), source };
    let database = Database::sqlite(&path).await.map_err(failed)?;
    SessionStore::open(database).await.map_err(failed)
}

pub(super) async fn open_party(
    data: &Path,
    index: usize,
    master: MasterKey,
    identity: PublicKey,
) -> Result<PartyStore, EmbeddedStartError> {
    let path = party_file(data, index);
    let failed = |source| EmbeddedStartError::Store { path: path.clone(), source };
    let database = Database::sqlite(&path).await.map_err(failed)?;
    PartyStore::open(database, Crypter::new(master, identity)).await.map_err(failed)
}
