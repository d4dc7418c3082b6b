//! Connecting to services at the start: with patience, and with a word in the log for every try.

use std::error::Error;
use std::sync::Arc;

use backon::{ExponentialBuilder, Retryable};
use quorate_backends::cache::{Cache, RedisCache};
use quorate_backends::database::{Database, StoreError};
use quorate_backends::queue::{Queue, RabbitQueue};

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
    let connected =
        patiently("PostgreSQL", &address, services.patience, || Database::postgres(&address)).await;
    connected.map_err(|source| StartError::Postgres { address: address.to_string(), source })
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
        let connect = || RabbitQueue::connect(address.clone(), services.namespace.as_str());
        match patiently("RabbitMQ", &address, services.patience, connect).await {
            Ok(queue) => Ok(Arc::new(queue)),
            Err(source) => Err(StartError::RabbitMq { address: address.to_string(), source }),
        }
    }

    /// The cache, if one is configured. No role waits for it: without it answers are read from the database.
    pub(super) fn cache(&self) -> Result<Option<Arc<dyn Cache>>, StartError> {
        let services = &self.config.services;
        let Some(address) = services.redis.clone() else { return Ok(None) };
        let wanted = "an address like redis://host:6379";
        let redis = RedisCache::new(address.clone(), services.namespace.as_str());
        let redis = redis.map_err(|_| ConfigError::Invalid { name: "REDIS_URL", wanted })?;
        let (trying, patience) = (redis.clone(), services.patience);
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(async move {
            if patiently("Redis", &address, patience, || trying.ping()).await.is_err() {
                tracing::error!(%address, "redis unavailable, continuing without cache; it is used once it answers");
            }
        }));
        Ok(Some(Arc::new(redis)))
    }
}

async fn patiently<T, E, F>(
    service: &'static str,
    address: &impl std::fmt::Display,
    patience: Patience,
    connect: impl Fn() -> F,
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
    counted.retry(waits).await
}
