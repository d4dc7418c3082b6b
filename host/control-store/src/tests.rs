//! The conformance suites on both databases.

use quorate_backends::database::Database;
use quorate_backends::testing::OwnDatabase;
use zeroize::Zeroizing;

use crate::{AccountStore, RowKeys, SessionStore};

fn keys() -> RowKeys {
    RowKeys::new(Zeroizing::new([7; 32]), vec![])
}

mod sqlite {
    use super::*;

    async fn fresh() -> (Database, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (Database::sqlite(&folder.path().join("a.db")).await.unwrap(), folder)
    }

    async fn accounts() -> (AccountStore, tempfile::TempDir) {
        let (database, folder) = fresh().await;
        (AccountStore::open(database, keys()).await.unwrap(), folder)
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
        (AccountStore::open(own.open().await, keys()).await.unwrap(), own)
    }

    async fn sessions() -> (SessionStore, OwnDatabase) {
        let own = OwnDatabase::create().await;
        (SessionStore::open(own.open().await).await.unwrap(), own)
    }

    crate::conformance::accounts_suite!(accounts());
    crate::conformance::sessions_suite!(sessions());

    /// One of them makes the tables, whichever comes first.
    #[tokio::test]
    async fn two_replicas_open_one_database_at_once() {
        let own = OwnDatabase::create().await;
        let (one, two) = (own.open().await, own.open().await);
        let (one, two) = tokio::join!(AccountStore::open(one, keys()), AccountStore::open(two, keys()));
        one.unwrap();
        two.unwrap();
    }
}
