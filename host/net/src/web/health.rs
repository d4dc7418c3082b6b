//! `/health`: whether a process and the services that it needs are there.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use quorate_backends::cache::Cache;
use quorate_backends::database::Database;
use quorate_backends::queue::Queue;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

/// How long a service may take to answer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a result is cached: `/health` needs no key, so that a request must not trigger a check each time.
const MAX_REPORT_AGE: Duration = Duration::from_secs(1);

/// How the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Status)]
pub enum HealthStatus {
    /// All is well.
    Ok,
    /// It works, without its cache.
    Degraded,
    /// A service that it can't do without is not there: requests get 503 until it is.
    Unavailable,
}

/// Whether the service is up.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Report)]
pub struct HealthReport {
    /// `ok`, `degraded` (it works without its cache) or `unavailable`.
    status: HealthStatus,
    /// The role of this process.
    role: &'static str,
    /// Its version.
    version: &'static str,
    /// The services that it needs.
    services: ServiceHealth,
    /// Why it does not do all of its work although its services are there, and who must act.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// Whether each service is there. Those that the process does not use are left out.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
#[schema(as = Services)]
struct ServiceHealth {
    #[serde(skip_serializing_if = "Option::is_none")]
    postgres: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rabbitmq: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redis: Option<bool>,
}

/// The health of the services that a process needs. Clones share the latest findings.
#[derive(Clone)]
pub struct Health {
    role: &'static str,
    database: Option<Database>,
    queue: Option<Arc<dyn Queue>>,
    cache: Option<Arc<dyn Cache>>,
    trouble: Option<Arc<dyn Fn() -> Option<String> + Send + Sync>>,
    /// Locked while services are asked: those who ask meanwhile get the same answer.
    last: Arc<Mutex<Option<(Instant, ServiceHealth)>>>,
}

impl Health {
    /// Of a process that needs nothing.
    #[must_use]
    pub fn of(role: &'static str) -> Self {
        Self { role, database: None, queue: None, cache: None, trouble: None, last: Arc::default() }
    }

    /// It needs a database.
    #[must_use]
    pub fn with_database(self, database: Database) -> Self {
        Self { database: Some(database), ..self }
    }

    /// It needs a queue.
    #[must_use]
    pub fn with_queue(self, queue: Arc<dyn Queue>) -> Self {
        Self { queue: Some(queue), ..self }
    }

    /// It is faster with a cache.
    #[must_use]
    pub fn with_cache(self, cache: Arc<dyn Cache>) -> Self {
        Self { cache: Some(cache), ..self }
    }

    /// It asks the role itself whether it does all of its work, and if not, why.
    #[must_use]
    pub fn with_trouble(self, trouble: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self { trouble: Some(Arc::new(trouble)), ..self }
    }

    async fn services(&self) -> ServiceHealth {
        let mut last = self.last.lock().await;
        if let Some((at, services)) = *last
            && at.elapsed() < MAX_REPORT_AGE
        {
            return services;
        }
        async fn is_available<E>(asked: impl Future<Output = Result<(), E>>) -> bool {
            matches!(tokio::time::timeout(HEALTH_TIMEOUT, asked).await, Ok(Ok(())))
        }
        let postgres = async {
            match &self.database {
                Some(database) => Some(is_available(database.ping()).await),
                None => None,
            }
        };
        let rabbitmq = async {
            match &self.queue {
                Some(queue) => Some(is_available(queue.ping()).await),
                None => None,
            }
        };
        let redis = async {
            match &self.cache {
                Some(cache) => Some(is_available(cache.ping()).await),
                None => None,
            }
        };
        let (postgres, rabbitmq, redis) = tokio::join!(postgres, rabbitmq, redis);
        let services = ServiceHealth { postgres, rabbitmq, redis };
        *last = Some((Instant::now(), services));
        services
    }

    async fn report(&self) -> (StatusCode, Json<HealthReport>) {
        let services = self.services().await;
        let trouble = self.trouble.as_ref().and_then(|trouble| trouble());
        let status = match services {
            _ if trouble.is_some() => HealthStatus::Unavailable,
            ServiceHealth { postgres: Some(false), .. } | ServiceHealth { rabbitmq: Some(false), .. } => {
                HealthStatus::Unavailable
            }
            ServiceHealth { redis: Some(false), .. } => HealthStatus::Degraded,
            _ => HealthStatus::Ok,
        };
        let code = match status {
            HealthStatus::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            HealthStatus::Ok | HealthStatus::Degraded => StatusCode::OK,
        };
        (
            code,
            Json(HealthReport {
                status,
                role: self.role,
                version: env!("CARGO_PKG_VERSION"),
                services,
                trouble,
            }),
        )
    }
}

/// The route, for roles that have no API of their own.
pub fn routes(health: Health) -> Router {
    let handler = async |State(health): State<Health>| health.report().await;
    Router::new().route("/health", get(handler)).with_state(health)
}

/// Whether the service is up
///
/// Needs no key.
#[utoipa::path(
    get, path = "/health", tag = "health", security(()),
    responses((status = 200, body = HealthReport), (status = 503, body = HealthReport)),
)]
pub async fn health(State(health): State<Health>) -> (StatusCode, Json<HealthReport>) {
    health.report().await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use quorate_backends::cache::CacheUnavailable;

    use super::*;

    /// A cache that counts how often it is asked, and takes a second to answer.
    #[derive(Default)]
    struct Counting(AtomicU32);

    #[async_trait::async_trait]
    impl Cache for Counting {
        async fn get(&self, _: &str) -> Result<Option<Vec<u8>>, CacheUnavailable> {
            Ok(None)
        }

        async fn set(&self, _: &str, _: Vec<u8>, _: Duration) -> Result<(), CacheUnavailable> {
            Ok(())
        }

        async fn remove(&self, _: &str) -> Result<(), CacheUnavailable> {
            Ok(())
        }

        async fn count(&self, _: &str, _: Duration) -> Result<u64, CacheUnavailable> {
            Ok(1)
        }

        async fn ping(&self) -> Result<(), CacheUnavailable> {
            self.0.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn services_are_asked_once_however_many_ask() {
        let cache = Arc::new(Counting::default());
        let health = Health::of("test").with_cache(Arc::clone(&cache) as Arc<dyn Cache>);
        let asking: Vec<_> = (0..100)
            .map(|_| {
                let health = health.clone();
                tokio::spawn(async move { health.report().await.0 })
            })
            .collect();
        for asked in asking {
            assert_eq!(asked.await.unwrap(), StatusCode::OK);
        }
        assert_eq!(cache.0.load(Ordering::Relaxed), 1);
        tokio::time::advance(MAX_REPORT_AGE).await;
        let _ = health.report().await;
        assert_eq!(cache.0.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_role_that_does_not_do_all_of_its_work_is_not_well_and_says_why() {
        let health = Health::of("test").with_trouble(|| Some("why".into()));
        let (status, Json(report)) = health.report().await;
        assert_eq!((status, report.trouble.as_deref()), (StatusCode::SERVICE_UNAVAILABLE, Some("why")));
    }
}
