//! Values derived from public data, which may vanish.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::capabilities::vault::is_entry_name;
use crate::limits;

/// A value that is being looked up.
pub type LookingUp = Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send>>;

/// A cache of one plugin.
pub trait ComponentCache: Send + Sync {
    /// Looks up a value. It must come soon: a cache that is slow misses.
    fn get(&self, name: &str) -> LookingUp;
    /// Keeps a value for a while. Must return at once.
    fn set(&self, name: &str, value: Vec<u8>, ttl: Duration);
}

/// A cache that forgets at once.
#[derive(Clone, Copy, Debug)]
pub struct NoCache;

impl ComponentCache for NoCache {
    fn get(&self, _: &str) -> LookingUp {
        Box::pin(std::future::ready(None))
    }

    fn set(&self, _: &str, _: Vec<u8>, _: Duration) {}
}

/// The cache as one session has it.
pub(crate) struct CacheState {
    cache: Arc<dyn ComponentCache>,
    sets: u32,
}

impl CacheState {
    pub(crate) fn new(cache: Arc<dyn ComponentCache>) -> Self {
        Self { cache, sets: 0 }
    }

    /// Looks up a value; `None` for a name that can't be one.
    pub(crate) fn get(&self, name: &str) -> Option<LookingUp> {
        is_entry_name(name).then(|| self.cache.get(name))
    }

    /// Keeps a value for at most [`limits::MAX_CACHE_TTL`]. What is too large, too often or named wrongly is dropped,
    /// as a cache may.
    pub(crate) fn set(&mut self, name: &str, value: Vec<u8>, ttl: Duration) {
        self.sets = self.sets.saturating_add(1);
        let fits = self.sets <= limits::MAX_CACHE_SETS && value.len() <= limits::MAX_CACHE_VALUE_BYTES;
        if fits && is_entry_name(name) {
            self.cache.set(name, value, ttl.min(limits::MAX_CACHE_TTL));
        }
    }
}
