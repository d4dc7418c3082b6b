//! PostgreSQL: shared by all replicas, synchronous commits.

use std::str::FromStr;
use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgPool, Transaction};
use tokio::time::timeout;

use super::error::StoreError;
use super::handle::{Database, DatabaseKind};
use crate::target::ServiceTarget;

/// Connections of one process. A transaction of ours takes a few milliseconds: this many carry far more than one
/// process can sign.
const MAX_POOL_CONNECTIONS: u32 = 12;

/// How long to wait for a free connection, or for a new one.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(4);

/// The settings of a connection: limits that end statements that hang, and commits that are on disk when they return.
const SETTINGS: [(&str, &str); 5] = [
    ("synchronous_commit", "on"),
    ("statement_timeout", "10000"),
    ("lock_timeout", "8000"),
    ("idle_in_transaction_session_timeout", "3000"),
    ("application_name", "quorate"),
];

/// Where a PostgreSQL database is, and how to log in. `Debug` does not show the password.
#[derive(Clone)]
pub struct PostgresAddress(PgConnectOptions);

/// An address that can't be read. It is not repeated: it may contain a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address of the form postgres://user@host:5432/database is wanted")]
pub struct PostgresAddressError;

impl PostgresAddress {
    /// Reads `postgres://user[:password]@host[:port]/database[?sslmode=…&sslrootcert=…]`.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn new(url: &str) -> Result<Self, PostgresAddressError> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(PostgresAddressError);
        }
        let options = PgConnectOptions::from_str(url).map_err(|_| PostgresAddressError)?;
        Ok(Self(options.options(SETTINGS)))
    }

    /// With this password.
    #[must_use]
    pub fn with_password(self, password: &str) -> Self {
        Self(self.0.password(password))
    }

    /// The server, as this process reaches it; `None` for a socket of this machine.
    #[must_use]
    pub fn target(&self) -> Option<ServiceTarget<'_>> {
        let is_socket = self.0.get_socket().is_some() || self.0.get_host().starts_with('/');
        let has_verified_tls = matches!(self.0.get_ssl_mode(), PgSslMode::VerifyFull);
        let target = ServiceTarget { host: self.0.get_host(), port: self.0.get_port(), has_verified_tls };
        (!is_socket).then_some(target)
    }

    /// Another database of the same server.
    #[must_use]
    pub fn with_database(self, name: &str) -> Self {
        Self(self.0.database(name))
    }
}

/// Host, port and database: what a log may say.
impl std::fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let database = self.0.get_database().unwrap_or_default();
        write!(f, "{}:{}/{database}", self.0.get_host(), self.0.get_port())
    }
}

impl std::fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PostgresAddress({self})")
    }
}

impl Database {
    /// Connects to a server. Connections that break later are made again when they are needed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when there is no server; [`StoreError::Database`] when it does not let us in.
    pub async fn postgres(address: &PostgresAddress) -> Result<Self, StoreError> {
        // A pool says of a server that refuses for now no more than that it took too long.
        let first =
            timeout(ACQUIRE_TIMEOUT, address.0.connect()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        first.close().await?;
        let pool =
            PgPoolOptions::new().max_connections(MAX_POOL_CONNECTIONS).acquire_timeout(ACQUIRE_TIMEOUT);
        Ok(Self(DatabaseKind::Postgres(pool.connect_with(address.0.clone()).await?)))
    }
}

#[cfg(any(test, feature = "testing"))]
impl Database {
    /// The connections, for tests that look behind the store.
    ///
    /// # Panics
    /// When it is an SQLite database.
    #[must_use]
    #[allow(clippy::panic)]
    pub fn postgres_pool(&self) -> &PgPool {
        match &self.0 {
            DatabaseKind::Postgres(pool) => pool,
            DatabaseKind::Sqlite(_) => panic!("this is not a PostgreSQL database"),
        }
    }
}

/// Begins a transaction under read committed, with a lock on its subject: what is read about it stays true until the
/// commit.
pub(super) async fn begin(
    pool: &PgPool,
    subject: &[u8],
) -> Result<Transaction<'static, sqlx::Postgres>, StoreError> {
    let mut tx = pool.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    let hash = Sha256::digest(subject);
    let mut lock = [0; 8];
    lock.copy_from_slice(&hash[..8]);
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(i64::from_be_bytes(lock)).execute(&mut *tx).await?;
    Ok(tx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_never_shows_its_password() {
        let address = PostgresAddress::new("postgres://user:secret@db.example:5433/party1").unwrap();
        assert_eq!(address.to_string(), "db.example:5433/party1");
        assert!(!format!("{address:?}").contains("secret"));
        let verified = |query: &str| {
            let url = format!("postgres://db.example/party1{query}");
            PostgresAddress::new(&url).unwrap().target().unwrap().has_verified_tls
        };
        assert!(verified("?sslmode=verify-full"));
        // These take any certificate, or one of another host, or none at all.
        for mode in ["", "?sslmode=prefer", "?sslmode=require", "?sslmode=verify-ca"] {
            assert!(!verified(mode), "{mode}");
        }
        let socket = PostgresAddress::new("postgres://user@%2Frun%2Fpostgresql/party1").unwrap();
        assert!(socket.target().is_none());
        for bad in ["", "mysql://host/db", "db.example:5432"] {
            assert_eq!(PostgresAddress::new(bad).err(), Some(PostgresAddressError), "{bad}");
        }
    }
}
