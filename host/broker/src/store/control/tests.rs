//! The conformance suite on both databases.

use super::ControlStore;
use crate::store::{Database, conformance};

mod sqlite {
    use super::*;

    async fn fresh() -> (ControlStore, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::sqlite(&folder.path().join("control.db")).await.unwrap();
        (ControlStore::open(database).await.unwrap(), folder)
    }

    conformance::control::suite!(fresh());
}

mod postgres {
    use super::*;

    async fn fresh() -> (ControlStore, conformance::OwnDatabase) {
        let own = conformance::OwnDatabase::create().await;
        (ControlStore::open(own.open().await).await.unwrap(), own)
    }

    conformance::control::suite!(fresh());
}
