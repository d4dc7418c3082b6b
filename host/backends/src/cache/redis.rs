//! The cache on Redis. Its connection is made again in the background when it breaks; until then every call says that
//! there is no cache.

use std::time::Duration;

use async_trait::async_trait;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo, Pipeline, RedisError};

use super::{Cache, CacheUnavailable, MAX_VALUE_BYTES};
use crate::target::ServiceTarget;

/// How long Redis may take to answer: what takes longer is faster without a cache.
const REDIS_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a new connection may take.
const REDIS_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest wait between two tries to connect.
const RECONNECT_DELAY: Duration = Duration::from_secs(10);

/// A cache on a Redis server. Clones share the connection.
#[derive(Clone)]
pub struct RedisCache {
    connection: ConnectionManager,
    namespace: String,
}

/// Where a server is, and how to log in. `Debug` does not show the password.
#[derive(Clone)]
pub struct RedisAddress(redis::ConnectionInfo);

/// An address that can't be read. It is not repeated: it may contain a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address of the form redis://host:6379/0 is wanted")]
pub struct RedisAddressError;

impl RedisAddress {
    /// Reads `redis[s]://[user[:password]@]host[:port][/database]`.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn new(url: &str) -> Result<Self, RedisAddressError> {
        url.into_connection_info().map(Self).map_err(|_| RedisAddressError)
    }

    /// With this password.
    #[must_use]
    pub fn with_password(self, password: &str) -> Self {
        let settings = self.0.redis_settings().clone().set_password(password);
        Self(self.0.set_redis_settings(settings))
    }
}

impl RedisAddress {
    /// The server, as this process reaches it; `None` for a socket of this machine.
    #[must_use]
    pub fn target(&self) -> Option<ServiceTarget<'_>> {
        let (host, port, has_verified_tls) = match self.0.addr() {
            ConnectionAddr::Tcp(host, port) => (host, *port, false),
            ConnectionAddr::TcpTls { host, port, insecure, .. } => (host, *port, !insecure),
            _ => return None,
        };
        Some(ServiceTarget { host, port, has_verified_tls })
    }
}

/// Host and port: what a log may say.
impl std::fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.addr())
    }
}

impl std::fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RedisAddress({self})")
    }
}

impl RedisCache {
    /// A cache. Whether the server is there shows with the first call: see [`Cache::ping`]. All names begin with the
    /// namespace.
    ///
    /// # Errors
    /// When the client rejects the address.
    pub fn new(address: RedisAddress, namespace: &str) -> Result<Self, CacheUnavailable> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(REDIS_CONNECT_TIMEOUT))
            .set_response_timeout(Some(REDIS_TIMEOUT))
            .set_max_delay(RECONNECT_DELAY)
            .set_number_of_retries(1);
        let client = Client::open(address.0).map_err(|_| CacheUnavailable)?;
        let connection =
            ConnectionManager::new_lazy_with_config(client, config).map_err(|_| CacheUnavailable)?;
        Ok(Self { connection, namespace: namespace.to_owned() })
    }

    fn name(&self, name: &str) -> String {
        format!("{}:{name}", self.namespace)
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, CacheUnavailable> {
        let mut connection = self.connection.clone();
        in_time(command.query_async(&mut connection)).await
    }
}

async fn in_time<T>(query: impl Future<Output = Result<T, RedisError>>) -> Result<T, CacheUnavailable> {
    match tokio::time::timeout(REDIS_CONNECT_TIMEOUT, query).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            tracing::debug!(%error, "Redis does not answer");
            Err(CacheUnavailable)
        }
        Err(_) => Err(CacheUnavailable),
    }
}

fn millis(time_to_live: Duration) -> u64 {
    u64::try_from(time_to_live.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, CacheUnavailable> {
        self.query(&Cmd::get(self.name(name))).await
    }

    async fn set(&self, name: &str, value: Vec<u8>, time_to_live: Duration) -> Result<(), CacheUnavailable> {
        if value.len() > MAX_VALUE_BYTES {
            return self.remove(name).await;
        }
        self.query(&Cmd::pset_ex(self.name(name), value, millis(time_to_live))).await
    }

    async fn remove(&self, name: &str) -> Result<(), CacheUnavailable> {
        self.query::<u64>(&Cmd::del(self.name(name))).await.map(drop)
    }

    async fn count(&self, name: &str, time_to_live: Duration) -> Result<u64, CacheUnavailable> {
        let name = self.name(name);
        let mut both = Pipeline::new();
        // Counting leaves the time that the first count has set.
        both.atomic();
        both.cmd("SET").arg(&name).arg(0).arg("PX").arg(millis(time_to_live)).arg("NX").ignore();
        both.incr(&name, 1);
        let mut connection = self.connection.clone();
        let (count,): (u64,) = in_time(both.query_async(&mut connection)).await?;
        Ok(count)
    }

    async fn ping(&self) -> Result<(), CacheUnavailable> {
        self.query::<String>(&redis::cmd("PING")).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{service, unique};

    async fn fresh() -> RedisCache {
        let address = RedisAddress::new(&service("TEST_REDIS_URL")).unwrap();
        RedisCache::new(address, &unique()).unwrap()
    }

    super::super::conformance::suite!(fresh());

    #[test]
    fn tls_counts_only_where_the_certificate_is_verified() {
        for (url, is_verified) in [
            ("redis://cache.example:6379", false),
            ("rediss://cache.example:6379", true),
            ("rediss://cache.example:6379/#insecure", false),
        ] {
            let address = RedisAddress::new(url).unwrap();
            assert_eq!(address.target().unwrap().has_verified_tls, is_verified, "{url}");
        }
    }

    #[tokio::test]
    async fn without_a_server_there_is_no_cache_and_no_long_wait() {
        let nobody = RedisCache::new(RedisAddress::new("redis://127.0.0.1:1").unwrap(), "ns").unwrap();
        let began = std::time::Instant::now();
        assert_eq!(nobody.get("a").await, Err(CacheUnavailable));
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
