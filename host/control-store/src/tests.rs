//! The conformance suites on both databases.

use quorate_backends::database::{Database, sql};
use quorate_backends::testing::OwnDatabase;
use quorate_core::UnixMillis;
use zeroize::Zeroizing;

use crate::{
    AccountStore, Acquisition, IdempotencyKey, IdempotentRequest, LEASE_DURATION, RowKeys, SessionStore,
};

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

    #[tokio::test]
    async fn callers_are_stored_under_a_mac_and_found_after_their_key_was_replaced() {
        let (database, _folder) = fresh().await;
        let opened = async |bytes: &[u8]| {
            let mut keys = bytes.iter().map(|byte| Zeroizing::new([*byte; 32]));
            let keys = RowKeys::new(keys.next().unwrap(), keys.collect());
            AccountStore::open(database.clone(), keys).await.unwrap()
        };
        let callers = async || {
            let rows =
                sql("SELECT caller FROM idempotency ORDER BY name").fetch_all(&database).await.unwrap();
            rows.iter().map(|row| row.get::<String>("caller").unwrap()).collect::<Vec<_>>()
        };
        let (completed, interrupted) = (request("a", 1), request("b", 2));
        let before = opened(&[7]).await;
        for request in [&completed, &interrupted] {
            before.acquire(request, NOW).await.unwrap();
        }
        before.complete(&completed, 201, "answer").await.unwrap();
        let old = callers().await;
        assert!(old[0] == old[1] && !old[0].contains("backend"), "{old:?}");
        let after = opened(&[8, 7]).await;
        let answer = Acquisition::Completed { status: 201, answer: "answer".into() };
        assert_eq!(after.acquire(&request("a", 3), NOW).await.unwrap(), answer);
        assert_eq!(after.acquire(&request("b", 3), NOW).await.unwrap(), Acquisition::InProgress);
        let later = NOW + LEASE_DURATION + std::time::Duration::from_millis(1);
        let taken = Acquisition::Acquired { earlier: Some(vec![2; 16]) };
        assert_eq!(after.acquire(&request("b", 3), later).await.unwrap(), taken);
        // A replica that has the new key behind the old one finds it too; who held it before does not.
        assert_eq!(
            opened(&[7, 8]).await.acquire(&request("b", 4), later).await.unwrap(),
            Acquisition::InProgress
        );
        assert!(before.complete(&interrupted, 201, "late").await.is_err());
        let taken_over = request("b", 3);
        after.complete(&IdempotentRequest { ids: vec![2; 16], ..taken_over }, 201, "answer").await.unwrap();
        let new = callers().await;
        assert!(new.len() == 2 && new[0] == old[0] && new[1] != old[1], "{new:?}");
    }
}

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn request(name: &str, owner: u8) -> IdempotentRequest {
    let key = IdempotencyKey { caller: "backend".into(), name: name.into() };
    IdempotentRequest { key, request: [1; 32], ids: vec![owner; 16], started: NOW, owner: [owner; 16] }
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
