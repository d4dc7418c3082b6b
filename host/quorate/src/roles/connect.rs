//! Connecting to services at the start: with patience, and with a word in the log for every try.

use std::error::Error;
use std::sync::Arc;

use backon::{ExponentialBuilder, Retryable};
use quorate_backends::ServiceTarget;
use quorate_backends::cache::{Cache, RedisCache};
use quorate_backends::database::{Database, StoreError};
use quorate_backends::queue::{BrokerLayout, Queue, RabbitAddress, RabbitQueue};
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
    let service = ServiceConnection::to("PostgreSQL", &address, address.target(), services);
    let connected = service.connect(|| Database::postgres(&address)).await;
    let failed = |source| StartError::Postgres { address: address.to_string(), source };
    connected.map_err(|error| error.into_start_error("PostgreSQL", failed))
}

/// Makes what a deployment has at RabbitMQ, as an administrator.
///
/// # Errors
/// When the broker may not be reached in the way that its address says, or refuses.
pub async fn create_broker_layout(
    services: &ServicesConfig,
    address: &RabbitAddress,
    layout: &BrokerLayout,
) -> Result<(), StartError> {
    let service = ServiceConnection::to("RabbitMQ", address, Some(address.target()), services);
    let created = service.once(|| layout.create(address)).await;
    created.map_err(|error| error.into_start_error("RabbitMQ", StartError::Layout))
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
        let service = ServiceConnection::to("RabbitMQ", &address, Some(address.target()), services);
        let connect = || RabbitQueue::connect(address.clone(), services.namespace.as_str());
        let failed = |source| StartError::RabbitMq { address: address.to_string(), source };
        match service.connect(connect).await {
            Ok(queue) => Ok(Arc::new(queue)),
            Err(error) => Err(error.into_start_error("RabbitMQ", failed)),
        }
    }

    /// Connects to RabbitMQ, if it is configured, for a role that does its work without it: whenever it is there.
    pub(super) async fn queue_when_there(
        &self,
    ) -> Result<Option<impl Future<Output = Arc<dyn Queue>> + use<>>, StartError> {
        let services = &self.config.services;
        let Some(address) = services.rabbitmq.clone() else { return Ok(None) };
        refuse_if_not_private("RabbitMQ", Some(address.target()), &services.unencrypted).await?;
        let namespace = services.namespace.as_str().to_owned();
        let (unencrypted, patience) = (services.unencrypted.clone(), services.patience);
        Ok(Some(async move {
            loop {
                let service = ServiceConnection {
                    name: "RabbitMQ",
                    shown: address.to_string(),
                    target: Some(address.target()),
                    unencrypted: &unencrypted,
                    patience,
                };
                match service.connect(|| RabbitQueue::connect(address.clone(), &namespace)).await {
                    Ok(queue) => return Arc::new(queue) as Arc<dyn Queue>,
                    Err(error) => {
                        tracing::error!(%error, "RabbitMQ unavailable: sessions are shown without events")
                    }
                }
                tokio::time::sleep(patience.cap).await;
            }
        }))
    }

    /// The cache, if one is configured. No role waits for it: without it answers are read from the database.
    pub(super) async fn cache(&self) -> Result<Option<Arc<dyn Cache>>, StartError> {
        let services = &self.config.services;
        let Some(address) = services.redis.clone() else { return Ok(None) };
        refuse_if_not_private("Redis", address.target(), &services.unencrypted).await?;
        let wanted = "an address like redis://host:6379";
        let redis = RedisCache::new(address.clone(), services.namespace.as_str());
        let redis = redis.map_err(|_| ConfigError::Invalid { name: "REDIS_URL", wanted })?;
        let (trying, unencrypted, patience) =
            (redis.clone(), services.unencrypted.clone(), services.patience);
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(async move {
            let shown = address.to_string();
            let service = ServiceConnection {
                name: "Redis",
                shown: shown.clone(),
                target: address.target(),
                unencrypted: &unencrypted,
                patience,
            };
            if service.connect(|| trying.ping()).await.is_err() {
                tracing::error!(
                    address = shown,
                    "redis unavailable, continuing without cache; it is used once it answers"
                );
            }
        }));
        Ok(Some(Arc::new(redis)))
    }
}

/// A service that a process connects to.
struct ServiceConnection<'a> {
    name: &'static str,
    /// Where it is, as a log may say it.
    shown: String,
    /// `None` for a socket of this machine.
    target: Option<ServiceTarget<'a>>,
    unencrypted: &'a Unencrypted,
    patience: Patience,
}

/// Why a service is not connected to at this try.
#[derive(Debug, thiserror::Error)]
enum NotReached {
    /// It must not be.
    #[error(transparent)]
    NotPrivate(NotPrivate),
    /// It is not known where its name leads.
    #[error("the name does not resolve")]
    Unresolved(#[source] std::io::Error),
}

/// Checks that a service may be reached in the way that its address says.
async fn reach(target: Option<ServiceTarget<'_>>, unencrypted: &Unencrypted) -> Result<(), NotReached> {
    let Some(ServiceTarget { host, port, has_verified_tls: false }) = target else { return Ok(()) };
    match unencrypted.resolve(host, port).await {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.get_ref().and_then(|cause| cause.downcast_ref::<NotPrivate>()) {
            Some(refused) => NotReached::NotPrivate(refused.clone()),
            None => NotReached::Unresolved(error),
        }),
    }
}

/// Refuses to start with a service that must not be reached in the way that its address says, though the role would work without it.
async fn refuse_if_not_private(
    service: &'static str,
    target: Option<ServiceTarget<'_>>,
    unencrypted: &Unencrypted,
) -> Result<(), StartError> {
    match reach(target, unencrypted).await {
        Err(NotReached::NotPrivate(source)) => Err(StartError::NotPrivate { service, source }),
        Ok(()) | Err(NotReached::Unresolved(_)) => Ok(()),
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum NotConnected<E: Error + 'static> {
    /// It was not tried.
    #[error(transparent)]
    NotReached(NotReached),
    /// The last try has failed.
    #[error(transparent)]
    Failed(E),
}

impl<E: Error + 'static> NotConnected<E> {
    fn into_start_error(self, service: &'static str, failed: impl Fn(E) -> StartError) -> StartError {
        match self {
            Self::NotReached(NotReached::NotPrivate(source)) => StartError::NotPrivate { service, source },
            Self::NotReached(NotReached::Unresolved(source)) => StartError::Unresolved { service, source },
            Self::Failed(source) => failed(source),
        }
    }
}

impl<'a> ServiceConnection<'a> {
    fn to(
        name: &'static str,
        address: &impl std::fmt::Display,
        target: Option<ServiceTarget<'a>>,
        services: &'a ServicesConfig,
    ) -> Self {
        let ServicesConfig { unencrypted, patience, .. } = services;
        Self { name, shown: address.to_string(), target, unencrypted, patience: *patience }
    }

    /// Connects once, after a look at where the name leads.
    async fn once<T, E, F>(&self, connect: impl Fn() -> F) -> Result<T, NotConnected<E>>
    where
        E: Error + 'static,
        F: Future<Output = Result<T, E>>,
    {
        reach(self.target, self.unencrypted).await.map_err(NotConnected::NotReached)?;
        connect().await.map_err(NotConnected::Failed)
    }

    /// Connects, with patience.
    async fn connect<T, E, F>(&self, connect: impl Fn() -> F) -> Result<T, NotConnected<E>>
    where
        E: Error + 'static,
        F: Future<Output = Result<T, E>>,
    {
        let again =
            |error: &NotConnected<E>| !matches!(error, NotConnected::NotReached(NotReached::NotPrivate(_)));
        patiently(self.name, &self.shown, self.patience, || self.once(&connect), again).await
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
