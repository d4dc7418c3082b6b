//! Connecting to services at the start: with patience, and with a word in the log for every try.

use std::error::Error;
use std::sync::Arc;

use backon::{ExponentialBuilder, Retryable};
use quorate_backends::ServiceTarget;
use quorate_backends::cache::{Cache, RedisCache};
use quorate_backends::database::{Database, StoreError};
use quorate_backends::queue::{Queue, RabbitAddress, RabbitQueue};
use quorate_net::private_networks::{NotPrivate, Unencrypted};

use super::context::{Context, needed};
use super::error::StartError;
use super::role::Role;
use crate::config::{ConfigError, Patience, ServicesConfig};

/// Connects to the database of a role.
///
/// # Errors
/// When it can't be reached after all tries.
pub async fn connect_to_postgres(services: &ServicesConfig, by: Role) -> Result<Database, StartError> {
    let address = needed(services.postgres.clone(), "POSTGRES_URL", by)?;
    let service = Service { name: "PostgreSQL", shown: address.to_string(), target: address.target() };
    match service.connect(services, || Database::postgres(&address)).await {
        Ok(database) => Ok(database),
        Err(NotConnected::NotPrivate(source)) => {
            Err(StartError::NotPrivate { service: service.name, source })
        }
        Err(NotConnected::Failed(source)) => Err(StartError::Postgres { address: service.shown, source }),
    }
}

impl Context<'_> {
    pub(super) async fn postgres(&self, by: Role) -> Result<Database, StartError> {
        connect_to_postgres(&self.config.services, by).await
    }

    /// Explains an error of a store that has been connected to.
    pub(super) fn store_failed(&self, source: StoreError) -> StartError {
        let address = self.config.services.postgres.as_ref().map(ToString::to_string).unwrap_or_default();
        StartError::Postgres { address, source }
    }

    pub(super) async fn rabbitmq(&self, by: Role) -> Result<Arc<dyn Queue>, StartError> {
        let services = &self.config.services;
        let address = needed(services.rabbitmq.clone(), "RABBITMQ_URL", by)?;
        let service = rabbitmq(&address);
        let connect = || RabbitQueue::connect(address.clone(), services.namespace.as_str());
        match service.connect(services, connect).await {
            Ok(queue) => Ok(Arc::new(queue)),
            Err(NotConnected::NotPrivate(source)) => {
                Err(StartError::NotPrivate { service: service.name, source })
            }
            Err(NotConnected::Failed(source)) => Err(StartError::RabbitMq { address: service.shown, source }),
        }
    }

    /// The cache, if one is configured. No role waits for it: without it answers are read from the database.
    pub(super) async fn cache(&self) -> Result<Option<Arc<dyn Cache>>, StartError> {
        let services = &self.config.services;
        let Some(address) = services.redis.clone() else { return Ok(None) };
        let wanted = "an address like redis://host:6379";
        let redis = RedisCache::new(address.clone(), services.namespace.as_str());
        let redis = redis.map_err(|_| ConfigError::Invalid { name: "REDIS_URL", wanted })?;
        let service = Service { name: "Redis", shown: address.to_string(), target: address.target() };
        let refused = |source| StartError::NotPrivate { service: "Redis", source };
        service.check(&services.unencrypted).await.map_err(refused)?;
        let (trying, patience) = (redis.clone(), services.patience);
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(async move {
            if patiently("Redis", &address.to_string(), patience, || trying.ping(), |_| true).await.is_err() {
                tracing::error!(%address, "redis unavailable, continuing without cache; it is used once it answers");
            }
        }));
        Ok(Some(Arc::new(redis)))
    }
}

/// A service that a process connects to.
struct Service<'a> {
    name: &'static str,
    /// Where it is, as a log may say it.
    shown: String,
    /// `None` for a socket of this machine.
    target: Option<ServiceTarget<'a>>,
}

fn rabbitmq(address: &RabbitAddress) -> Service<'_> {
    Service { name: "RabbitMQ", shown: address.to_string(), target: Some(address.target()) }
}

/// Checks that a broker may be reached in the way that its address says.
///
/// # Errors
/// When it would be reached without verified TLS, outside of what is declared to be private.
pub async fn check_rabbitmq(services: &ServicesConfig, address: &RabbitAddress) -> Result<(), StartError> {
    let service = rabbitmq(address);
    let checked = service.check(&services.unencrypted).await;
    checked.map_err(|source| StartError::NotPrivate { service: service.name, source })
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum NotConnected<E: Error + 'static> {
    /// There must be none.
    #[error(transparent)]
    NotPrivate(NotPrivate),
    /// The last try has failed.
    #[error("{0}")]
    Failed(#[source] E),
}

impl Service<'_> {
    /// Checks that it may be reached in the way that its address says. A name that does not resolve is left to the connection,
    /// which fails for the same reason.
    async fn check(&self, unencrypted: &Unencrypted) -> Result<(), NotPrivate> {
        let Some(ServiceTarget { host, port, has_verified_tls: false }) = self.target else { return Ok(()) };
        match unencrypted.resolve(host, port).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let refused = error.get_ref().and_then(|cause| cause.downcast_ref::<NotPrivate>());
                refused.map_or(Ok(()), |refused| Err(refused.clone()))
            }
        }
    }

    /// Connects, with patience. Before each try it checks where the name leads.
    async fn connect<T, E, F>(
        &self,
        services: &ServicesConfig,
        connect: impl Fn() -> F,
    ) -> Result<T, NotConnected<E>>
    where
        E: Error + 'static,
        F: Future<Output = Result<T, E>>,
    {
        let checked = || async {
            self.check(&services.unencrypted).await.map_err(NotConnected::NotPrivate)?;
            connect().await.map_err(NotConnected::Failed)
        };
        let again = |error: &NotConnected<E>| matches!(error, NotConnected::Failed(_));
        patiently(self.name, &self.shown, services.patience, checked, again).await
    }
}

async fn patiently<T, E, F>(
    service: &'static str,
    address: &str,
    patience: Patience,
    connect: impl Fn() -> F,
    again: impl Fn(&E) -> bool,
) -> Result<T, E>
where
    E: Error + 'static,
    F: Future<Output = Result<T, E>>,
{
    let Patience { tries, base, cap } = patience;
    // Jitter makes a wait up to twice as long: no wait is longer than the cap.
    let waits = ExponentialBuilder::new()
        .with_min_delay(base.min(cap / 2))
        .with_max_delay(cap / 2)
        .with_max_times(tries.saturating_sub(1) as usize)
        .with_jitter();
    let attempt = std::sync::atomic::AtomicU32::new(0);
    let counted = || async {
        let attempt = attempt.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let connected = connect().await;
        match &connected {
            Ok(_) if attempt > 1 => tracing::info!(service, %address, attempt, "service connected"),
            Ok(_) => {}
            Err(error) => {
                let cause = error.source().map(ToString::to_string).unwrap_or_default();
                tracing::warn!(service, %address, attempt, of = tries, %error, cause, "could not connect");
            }
        }
        connected
    };
    counted.retry(waits).when(again).await
}
