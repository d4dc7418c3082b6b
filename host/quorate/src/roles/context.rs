//! The context in which every role of a process starts.

use std::sync::Arc;
use std::time::Duration;

use quorate_account::TimeLimits;
use quorate_net::clock::Clock;
use quorate_net::tls_files::TlsFiles;
use quorate_net::web::guard::{FailedKeys, Guard};
use quorate_net::web::rates::RequestRate;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::role::Role;
use crate::config::{ApiKeyKind, Config, ConfigError, LimitsConfig};

/// How long requests and sessions may still take when a process is told to stop.
pub(super) const SHUTDOWN_GRACE_PERIOD: Duration = Duration::from_secs(12);

/// The context of every role in a process.
pub(super) struct Context<'a> {
    pub(super) config: &'a mut Config,
    pub(super) clock: Arc<dyn Clock>,
    /// The certificates of this process, as they are at the moment.
    pub(super) certificates: Arc<TlsFiles>,
    /// Cancelled when the process is told to stop.
    pub(super) stop: CancellationToken,
    /// Cancelled when a role has ended because it can't go on.
    pub(super) broken: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Context<'_> {
    /// Checks callers by the keys of one kind, which `needed_by` can't do without.
    pub(super) fn guard(&self, kind: ApiKeyKind, needed_by: Option<Role>) -> Result<Guard, ConfigError> {
        let config = &*self.config;
        let keys = match kind {
            ApiKeyKind::Sign => &config.keys.sign,
            ApiKeyKind::Shares => &config.keys.shares,
            ApiKeyKind::Operate => &config.keys.operate,
        };
        let keys = match needed_by {
            Some(role) => Some(needed(keys.clone(), kind.hashes_setting(), role)?),
            None => keys.clone(),
        };
        Ok(Guard {
            keys,
            keys_setting: kind.hashes_setting(),
            allowed: config.http.allowed.clone(),
            proxies: config.http.proxies.clone(),
            failed: FailedKeys::new(config.http.rates.failed_keys),
            // Of this process alone, unless the role has a cache.
            rate: RequestRate::new("key", config.http.rates.per_key, None, Arc::clone(&self.clock)),
        })
    }
}

/// A setting that the role can't do without.
pub(super) fn needed<T>(value: Option<T>, name: &'static str, by: Role) -> Result<T, ConfigError> {
    value.ok_or(ConfigError::Missing { name, by: by.name() })
}

/// Checks that a list has an entry, since the role can't do without.
pub(super) fn some<T>(list: &[T], name: &'static str, by: Role) -> Result<(), ConfigError> {
    if list.is_empty() { Err(ConfigError::Missing { name, by: by.name() }) } else { Ok(()) }
}

/// The account service's time limits.
pub(super) fn time_limits(config: LimitsConfig) -> TimeLimits {
    TimeLimits { sign: config.sign, shares_per_party: config.shares_per_party }
}
