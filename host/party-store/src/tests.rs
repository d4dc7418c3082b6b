//! The conformance suite on both databases, and what is SQLite's own: its file.

use quorate_backends::testing::OwnDatabase;
use sqlx::Row as _;
use tempfile::TempDir;

use super::*;
use crate::conformance::{ACCOUNT, certificate, claim, promise};

fn crypter(key: &str) -> Crypter {
    Crypter::new(MasterKey::from_hex(&key.repeat(32)).unwrap(), PublicKey([1; 32]))
}

async fn open(folder: &TempDir, key: &str) -> Result<PartyStore, StoreError> {
    PartyStore::open(Database::sqlite(&folder.path().join("party.db")).await?, crypter(key)).await
}

async fn fresh() -> (PartyStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (open(&folder, "aa").await.unwrap(), folder)
}

mod sqlite {
    use super::*;

    crate::conformance::suite!(fresh());
}

mod postgres {
    use super::*;

    async fn fresh() -> (PartyStore, OwnDatabase) {
        let own = OwnDatabase::create().await;
        (PartyStore::open(own.open().await, crypter("aa")).await.unwrap(), own)
    }

    crate::conformance::suite!(fresh());

    #[tokio::test]
    async fn a_wrong_master_key_and_a_newer_schema_are_refused() {
        let (store, own) = fresh().await;
        let refused = PartyStore::open(own.open().await, crypter("bb")).await.unwrap_err();
        assert!(matches!(refused, StoreError::WrongMasterKey), "{refused}");
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                     VALUES (9999, 'from the future', TRUE, 'x', 0)";
        sqlx::query(newer).execute(store.database.postgres_pool()).await.unwrap();
        let refused = PartyStore::open(own.open().await, crypter("aa")).await.unwrap_err();
        assert!(matches!(refused, StoreError::Newer(9999)), "{refused}");
    }

    #[tokio::test]
    async fn a_server_without_room_is_unavailable_and_one_that_refuses_a_statement_is_not() {
        let (store, _own) = fresh().await;
        for (code, away) in
            [("53100", true), ("53300", true), ("57P01", true), ("23505", false), ("42501", false)]
        {
            let failing = format!("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$");
            let failing = sqlx::AssertSqlSafe(failing);
            let failed = sqlx::raw_sql(failing).execute(store.database.postgres_pool()).await.unwrap_err();
            assert_eq!(matches!(StoreError::from(failed), StoreError::Unavailable(_)), away, "{code}");
        }
    }

    #[tokio::test]
    async fn replicas_that_start_on_a_new_database_at_once_all_come_up() {
        let own = OwnDatabase::create().await;
        let starts = (0..4).map(|_| async { PartyStore::open(own.open().await, crypter("aa")).await });
        for started in futures::future::join_all(starts).await {
            started.unwrap();
        }
    }
}

async fn with_active_share() -> (PartyStore, TempDir) {
    let (store, folder) = fresh().await;
    promise(&store, 1, 1).await;
    store.activate(&certificate(1, 1)).await.unwrap();
    (store, folder)
}

#[tokio::test]
async fn what_is_stored_survives_a_restart() {
    let (store, folder) = with_active_share().await;
    store.database.close().await;
    let store = open(&folder, "aa").await.unwrap();
    assert_eq!(store.entries(ACCOUNT, PlanHash([1; 32])).await.unwrap().unwrap()["share"].len(), 1_000);
}

#[tokio::test]
async fn a_wrong_master_key_is_refused_and_changes_nothing() {
    let (store, folder) = with_active_share().await;
    store.database.close().await;
    let file = folder.path().join("party.db");
    let before = std::fs::read(&file).unwrap();
    let refused = open(&folder, "bb").await.unwrap_err();
    assert!(matches!(refused, StoreError::WrongMasterKey), "{refused}");
    assert!(std::fs::read(&file).unwrap() == before, "the file was changed");
    assert!(open(&folder, "aa").await.is_ok());
}

#[tokio::test]
async fn a_changed_or_moved_row_does_not_open() {
    let (store, _folder) = with_active_share().await;
    for harm in [
        "UPDATE entries SET sealed = substr(sealed, 1, 500)",
        "UPDATE entries SET name = x'01'",
        "UPDATE entries SET sealed = x''",
    ] {
        let row = sqlx::query("SELECT name, sealed FROM entries")
            .fetch_one(store.database.sqlite_pool())
            .await
            .unwrap();
        let (name, good): (Vec<u8>, Vec<u8>) = (row.get(0), row.get(1));
        // A plugin has chosen the name: it could carry anything.
        assert!(name.len() == 32 && !name.starts_with(b"share"), "{name:?}");
        sqlx::query(harm).execute(store.database.sqlite_pool()).await.unwrap();
        let error = store.entries(ACCOUNT, PlanHash([1; 32])).await.unwrap_err();
        assert!(matches!(error, StoreError::Sealed("entries")), "{harm}: {error}");
        sqlx::query("UPDATE entries SET name = ?, sealed = ?")
            .bind(name)
            .bind(good)
            .execute(store.database.sqlite_pool())
            .await
            .unwrap();
        assert!(store.entries(ACCOUNT, PlanHash([1; 32])).await.is_ok());
    }
}

#[tokio::test]
async fn what_admission_relies_on_can_not_be_changed_or_moved() {
    let (store, _folder) = with_active_share().await;
    for harm in [
        "UPDATE shares SET epoch = 9",
        "UPDATE shares SET facts = substr(facts, 1, 100)",
        "UPDATE shares SET account = x'09090909090909090909090909090909'",
        "DELETE FROM entries",
    ] {
        // Never committed.
        let mut tx = store.database.begin(b"").await.unwrap();
        sql(harm).execute(&mut tx).await.unwrap();
        let row =
            sql("SELECT plan, epoch, data_key, facts, account FROM shares").fetch_one(&mut tx).await.unwrap();
        let opened = store.open_facts(row.read("account", "shares").unwrap(), &row);
        let names = sql("SELECT name FROM entries").fetch_all(&mut tx).await.unwrap().len();
        assert!(opened.is_err() || opened.is_ok_and(|facts| facts.names.len() != names), "{harm}");
    }
}

#[tokio::test]
async fn no_secret_is_stored_in_the_clear() {
    let (store, folder) = with_active_share().await;
    store.database.close().await;
    for file in folder.path().read_dir().unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        // The share of the test is a thousand ones; ids next to each other come to 112.
        assert!(!bytes.windows(200).any(|w| w.iter().all(|&b| b == 1)));
    }
}

#[tokio::test]
async fn a_truncated_database_is_a_clear_error() {
    let (store, folder) = with_active_share().await;
    store.database.close().await;
    let file = folder.path().join("party.db");
    let length = std::fs::metadata(&file).unwrap().len();
    std::fs::File::options().write(true).open(&file).unwrap().set_len(length / 3).unwrap();
    let opened = open(&folder, "aa").await;
    let failed = match opened {
        Ok(store) => store.entries(ACCOUNT, PlanHash([1; 32])).await.is_err(),
        Err(error) => matches!(error, StoreError::Database(_) | StoreError::Schema(_)),
    };
    assert!(failed, "a truncated database was used");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let (store, folder) = with_active_share().await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .execute(store.database.sqlite_pool())
    .await
    .unwrap();
    store.database.close().await;
    let refused = open(&folder, "aa").await.unwrap_err();
    assert!(matches!(refused, StoreError::Newer(9999)), "{refused}");
}

#[tokio::test]
async fn a_database_of_another_role_is_refused() {
    let (store, folder) = with_active_share().await;
    sqlx::query("UPDATE _sqlx_migrations SET checksum = x'00'")
        .execute(store.database.sqlite_pool())
        .await
        .unwrap();
    store.database.close().await;
    let refused = open(&folder, "aa").await.unwrap_err();
    assert!(matches!(refused, StoreError::Another(1)), "{refused}");
}

fn with_share(order: u8) -> Claim {
    Claim { share_set: Some(PlanHash([1; 32])), ..claim(order, order, false) }
}

#[tokio::test]
async fn a_full_disk_is_a_clear_error_and_what_was_stored_stays() {
    let (store, _folder) = with_active_share().await;
    // SQLite's own limit stands in for the disk's: the same error comes from the same place.
    let pages: i64 =
        sqlx::query("PRAGMA page_count").fetch_one(store.database.sqlite_pool()).await.unwrap().get(0);
    sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}")))
        .execute(store.database.sqlite_pool())
        .await
        .unwrap();
    let mut failed = None;
    for order in 2..200 {
        if let Err(error) = store.claim(&with_share(order)).await {
            failed = Some(error);
            break;
        }
    }
    assert!(matches!(failed, Some(StoreError::Database(_))), "{failed:?}");
    assert!(store.entries(ACCOUNT, PlanHash([1; 32])).await.unwrap().is_some());
    sqlx::query("PRAGMA max_page_count = 100000").execute(store.database.sqlite_pool()).await.unwrap();
    assert_eq!(store.claim(&with_share(250)).await.unwrap(), ClaimOutcome::Claimed { refresh_wanted: false });
}
