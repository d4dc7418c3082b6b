//! What every store must do: the same tests for every adapter.

pub(crate) mod control;
pub(crate) mod party;

use super::{Database, PostgresAddress};
use crate::testing::{service, unique};

/// A PostgreSQL database of one test. It is dropped with this value.
pub(crate) struct OwnDatabase {
    server: PostgresAddress,
    name: String,
}

impl OwnDatabase {
    pub(crate) async fn create() -> Self {
        let server = PostgresAddress::new(&service("TEST_POSTGRES_URL")).unwrap();
        let own = Self { server, name: unique() };
        own.on_server(&format!("CREATE DATABASE {}", own.name)).await;
        own
    }

    pub(crate) async fn open(&self) -> Database {
        Database::postgres(&self.server.clone().with_database(&self.name)).await.unwrap()
    }

    async fn on_server(&self, statement: &str) {
        let database = Database::postgres(&self.server).await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()))
            .execute(database.postgres_pool())
            .await
            .unwrap();
        database.close().await;
    }
}

impl Drop for OwnDatabase {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        // The test's runtime is about to end: this has one of its own.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(self.on_server(&drop));
            });
        });
    }
}

/// The tests of a suite, each with a fresh store from an async expression that gives `(store, guard)`.
macro_rules! tests {
    ($suite:ident, $fresh:expr; $($name:ident,)*) => {$(
        #[tokio::test]
        async fn $name() {
            let (store, _guard) = $fresh.await;
            $crate::store::conformance::$suite::$name(&store).await;
        }
    )*};
}
pub(crate) use tests;
