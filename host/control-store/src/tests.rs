//! The conformance suites on both databases.

use quorate_backends::database::Database;
use quorate_backends::testing::OwnDatabase;

use crate::{AccountStore, SessionStore};

mod sqlite {
    use super::*;

    async fn fresh() -> (Database, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (Database::sqlite(&folder.path().join("control.db")).await.unwrap(), folder)
    }

    async fn accounts() -> (AccountStore, tempfile::TempDir) {
        let (database, folder) = fresh().await;
        (AccountStore::open(database).await.unwrap(), folder)
    }

    async fn sessions() -> (SessionStore, tempfile::TempDir) {
        let (database, folder) = fresh().await;
        (SessionStore::open(database).await.unwrap(), folder)
    }

    crate::conformance::accounts_suite!(accounts());
    crate::conformance::sessions_suite!(sessions());
}

mod postgres {
    use super::*;

    async fn accounts() -> (AccountStore, OwnDatabase) {
        let own = OwnDatabase::create().await;
        (AccountStore::open(own.open().await).await.unwrap(), own)
    }

    async fn sessions() -> (SessionStore, OwnDatabase) {
        let own = OwnDatabase::create().await;
        (SessionStore::open(own.open().await).await.unwrap(), own)
    }

    crate::conformance::accounts_suite!(accounts());
    crate::conformance::sessions_suite!(sessions());

    /// One of them makes the tables, whichever comes first.
    #[tokio::test]
    async fn both_stores_open_one_database_at_once() {
        let own = OwnDatabase::create().await;
        let (accounts, sessions) = (own.open().await, own.open().await);
        let (accounts, sessions) = tokio::join!(AccountStore::open(accounts), SessionStore::open(sessions));
        accounts.unwrap();
        sessions.unwrap();
    }
}
