//! The servers that tests of adapters and stores run against.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::atomic::{AtomicU32, Ordering};

use crate::database::{Database, PostgresAddress};

/// The address of a server. `make test` starts servers of its own and names them.
pub fn service(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run `make test`, or tests/services.sh COMMAND"))
}

/// A name that no other test uses, of this run or of another one.
pub fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    format!("quorate_{}_{nanos}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A PostgreSQL database of one test. It is dropped with this value.
pub struct OwnDatabase {
    server: PostgresAddress,
    name: String,
}

impl OwnDatabase {
    /// Makes a database with a name of its own.
    pub async fn create() -> Self {
        let server = PostgresAddress::new(&service("TEST_POSTGRES_URL")).unwrap();
        let own = Self { server, name: unique() };
        own.on_server(&format!("CREATE DATABASE {}", own.name)).await;
        own
    }

    /// Connects to it.
    pub async fn open(&self) -> Database {
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

/// The tests of a conformance suite, each with a fresh store from an async expression that gives `(store, guard)`.
#[macro_export]
macro_rules! conformance_tests {
    ($suite:path, $fresh:expr; $($name:ident,)*) => {$(
        #[tokio::test]
        async fn $name() {
            use $suite as suite;
            let (store, _guard) = $fresh.await;
            suite::$name(&store).await;
        }
    )*};
}
