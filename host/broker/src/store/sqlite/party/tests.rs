//! The conformance suite on SQLite, and what is SQLite's own: its file.

use tempfile::TempDir;

use super::*;
use crate::store::MasterKey;
use crate::store::conformance;
use crate::store::conformance::party::{ACCOUNT, certificate, claim, promise};

fn crypter(key: &str) -> Crypter {
    Crypter::new(MasterKey::from_hex(&key.repeat(32)).unwrap(), PublicKey([1; 32]))
}

async fn open(folder: &TempDir, key: &str) -> Result<SqlitePartyStore, StoreError> {
    SqlitePartyStore::open(&folder.path().join("party.db"), crypter(key)).await
}

async fn fresh() -> (SqlitePartyStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (open(&folder, "aa").await.unwrap(), folder)
}

conformance::party::suite!(fresh());

async fn with_active_share() -> (SqlitePartyStore, TempDir) {
    let (store, folder) = fresh().await;
    promise(&store, 1, 1).await;
    store.activate(&certificate(1, 1)).await.unwrap();
    (store, folder)
}

#[tokio::test]
async fn what_is_stored_survives_a_restart() {
    let (store, folder) = with_active_share().await;
    store.pool.close().await;
    let store = open(&folder, "aa").await.unwrap();
    assert_eq!(store.active_entries(ACCOUNT, 1).await.unwrap().unwrap()["share"].len(), 1_000);
}

#[tokio::test]
async fn a_wrong_master_key_is_refused_and_changes_nothing() {
    let (store, folder) = with_active_share().await;
    store.pool.close().await;
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
    for (harm, mend) in [
        ("UPDATE entries SET sealed = substr(sealed, 1, 500)", None),
        ("UPDATE entries SET name = 'other'", Some("UPDATE entries SET name = 'share'")),
        ("UPDATE entries SET sealed = x''", None),
    ] {
        let good: Vec<u8> =
            sqlx::query("SELECT sealed FROM entries").fetch_one(&store.pool).await.unwrap().get(0);
        sqlx::query(harm).execute(&store.pool).await.unwrap();
        let error = store.active_entries(ACCOUNT, 1).await.unwrap_err();
        assert!(matches!(error, StoreError::Sealed("entries")), "{harm}: {error}");
        if let Some(mend) = mend {
            sqlx::query(mend).execute(&store.pool).await.unwrap();
        }
        sqlx::query("UPDATE entries SET sealed = ?").bind(good).execute(&store.pool).await.unwrap();
        assert!(store.active_entries(ACCOUNT, 1).await.is_ok());
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
        let mut tx = store.begin().await.unwrap();
        sqlx::query(harm).execute(&mut *tx).await.unwrap();
        let row = sqlx::query("SELECT plan, epoch, facts FROM shares").fetch_one(&mut *tx).await.unwrap();
        let account: Vec<u8> =
            sqlx::query("SELECT account FROM shares").fetch_one(&mut *tx).await.unwrap().get(0);
        let opened = store.open_facts(AccountId(account.try_into().unwrap()), &row);
        let names = sqlx::query("SELECT name FROM entries").fetch_all(&mut *tx).await.unwrap().len();
        assert!(opened.is_err() || opened.is_ok_and(|facts| facts.names.len() != names), "{harm}");
    }
}

#[tokio::test]
async fn no_secret_is_stored_in_the_clear() {
    let (store, folder) = with_active_share().await;
    store.pool.close().await;
    for file in folder.path().read_dir().unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        // The share of the test is a thousand ones; ids next to each other come to 112.
        assert!(!bytes.windows(200).any(|w| w.iter().all(|&b| b == 1)));
    }
}

#[tokio::test]
async fn a_truncated_database_is_a_clear_error() {
    let (store, folder) = with_active_share().await;
    store.pool.close().await;
    let file = folder.path().join("party.db");
    let length = std::fs::metadata(&file).unwrap().len();
    std::fs::File::options().write(true).open(&file).unwrap().set_len(length / 3).unwrap();
    let opened = open(&folder, "aa").await;
    let failed = match opened {
        Ok(store) => store.active_entries(ACCOUNT, 1).await.is_err(),
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
    .execute(&store.pool)
    .await
    .unwrap();
    store.pool.close().await;
    let refused = open(&folder, "aa").await.unwrap_err();
    assert!(matches!(refused, StoreError::Schema(_)), "{refused}");
}

fn with_epoch(order: u8) -> Claim {
    Claim { epoch: Some(1), ..claim(order, order, false) }
}

#[tokio::test]
async fn a_full_disk_is_a_clear_error_and_what_was_stored_stays() {
    let (store, _folder) = with_active_share().await;
    // SQLite's own limit stands in for the disk's: the same error comes from the same place.
    let pages: i64 = sqlx::query("PRAGMA page_count").fetch_one(&store.pool).await.unwrap().get(0);
    sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}")))
        .execute(&store.pool)
        .await
        .unwrap();
    let mut failed = None;
    for order in 2..200 {
        if let Err(error) = store.claim(&with_epoch(order)).await {
            failed = Some(error);
            break;
        }
    }
    assert!(matches!(failed, Some(StoreError::Database(_))), "{failed:?}");
    assert!(store.active_entries(ACCOUNT, 1).await.unwrap().is_some());
    sqlx::query("PRAGMA max_page_count = 100000").execute(&store.pool).await.unwrap();
    assert_eq!(store.claim(&with_epoch(250)).await.unwrap(), Claimed::Yes);
}
