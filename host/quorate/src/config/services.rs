//! The services that a deployment of many processes needs.

use std::time::Duration;

use quorate_backends::cache::RedisAddress;
use quorate_backends::database::PostgresAddress;
use quorate_backends::queue::RabbitAddress;

use quorate_net::private_networks::{PrivateNetworks, Unencrypted};

use super::ConfigError;
use super::environment::Environment;
use super::read::Variables;

/// PostgreSQL, RabbitMQ and Redis.
#[derive(Debug)]
pub struct ServicesConfig {
    /// `POSTGRES_URL`, with the password in `POSTGRES_PASSWORD` if you like: the database of account
    /// services, of coordinators, or of one party.
    pub postgres: Option<PostgresAddress>,
    /// `RABBITMQ_URL`, with the password in `RABBITMQ_PASSWORD` if you like.
    pub rabbitmq: Option<RabbitAddress>,
    /// `REDIS_URL`, with the password in `REDIS_PASSWORD` if you like. Without it there is no cache.
    pub redis: Option<RedisAddress>,
    /// `QUORATE_NAMESPACE`: what names of queues and cached values begin with. Deployments with different ones share a
    /// broker.
    pub namespace: Namespace,
    /// How often a service that is not there is tried at the start.
    pub patience: Patience,
    /// `QUORATE_PRIVATE_NETWORKS`: address ranges and host names, separated by commas, that are reached without verified TLS in
    /// production; this machine always is. It is for the other roles too.
    pub unencrypted: Unencrypted,
}

/// A prefix of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(String);

impl Namespace {
    /// The prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Namespace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let fits = !text.is_empty()
            && text.len() <= 64
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if fits { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

/// How often something is tried, and how long to wait in between: twice as long each time, with jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// `QUORATE_CONNECT_TRIES`
    pub tries: u32,
    /// `QUORATE_CONNECT_BASE_MS`
    pub base: Duration,
    /// `QUORATE_CONNECT_CAP_MS`
    pub cap: Duration,
}

impl ServicesConfig {
    pub(super) fn read(variables: &mut Variables, environment: Environment) -> Result<Self, ConfigError> {
        let url = |variables: &mut Variables, name, password| {
            Ok::<_, ConfigError>((variables.secret(name)?, variables.secret(password)?))
        };
        let (postgres, postgres_password) = url(variables, "POSTGRES_URL", "POSTGRES_PASSWORD")?;
        let (rabbitmq, rabbitmq_password) = url(variables, "RABBITMQ_URL", "RABBITMQ_PASSWORD")?;
        let (redis, redis_password) = url(variables, "REDIS_URL", "REDIS_PASSWORD")?;
        let invalid = |name, wanted| move || ConfigError::Invalid { name, wanted };
        let wrong = invalid("POSTGRES_URL", "an address like postgres://user@host:5432/database");
        let postgres = postgres.map(|url| PostgresAddress::new(&url)).transpose().map_err(|_| wrong())?;
        let wrong = invalid("RABBITMQ_URL", "an address like amqp://user@host:5672");
        let rabbitmq = rabbitmq.map(|url| RabbitAddress::new(&url)).transpose().map_err(|_| wrong())?;
        let wrong = invalid("REDIS_URL", "an address like redis://host:6379");
        let redis = redis.map(|url| RedisAddress::new(&url)).transpose().map_err(|_| wrong())?;
        let wanted = "private ranges like 10.0.0.0/8 and host names, with commas between";
        let networks: PrivateNetworks =
            variables.parsed("QUORATE_PRIVATE_NETWORKS", wanted)?.unwrap_or_default();
        let tries = variables.parsed("QUORATE_CONNECT_TRIES", "a number from 1 to 1000")?.unwrap_or(10);
        if !(1..=1_000).contains(&tries) {
            return Err(invalid("QUORATE_CONNECT_TRIES", "a number from 1 to 1000")());
        }
        Ok(Self {
            postgres: match postgres_password {
                Some(password) => postgres.map(|address| address.with_password(&password)),
                None => postgres,
            },
            rabbitmq: match rabbitmq_password {
                Some(password) => rabbitmq.map(|address| address.with_password(&password)),
                None => rabbitmq,
            },
            redis: match redis_password {
                Some(password) => redis.map(|address| address.with_password(&password)),
                None => redis,
            },
            namespace: variables
                .parsed("QUORATE_NAMESPACE", "up to 64 letters, digits, dots, dashes and underscores")?
                .unwrap_or_else(|| Namespace("quorate".into())),
            unencrypted: match environment {
                Environment::Development => Unencrypted::Anywhere,
                Environment::Production => Unencrypted::Within(networks),
            },
            patience: Patience {
                tries,
                base: variables.millis("QUORATE_CONNECT_BASE_MS")?.unwrap_or(Duration::from_secs(2)),
                cap: variables.millis("QUORATE_CONNECT_CAP_MS")?.unwrap_or(Duration::from_secs(10)),
            },
        })
    }
}
