//! The cache of a single process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::{Cache, CacheUnavailable, MAX_VALUE_BYTES};

/// Entries kept. Most are a few bytes; if all were as long as they may be it would come to 64 MiB.
const MAX_ENTRIES: usize = 1_000;

/// A cache in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryCache {
    entries: Arc<Mutex<HashMap<String, CachedEntry>>>,
}

struct CachedEntry {
    value: CachedValue,
    expires: Instant,
}

enum CachedValue {
    Bytes(Vec<u8>),
    Count(u64),
}

impl MemoryCache {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, CachedEntry>> {
        self.entries.lock()
    }
}

/// Makes room for one more entry: first what has expired goes, then what would expire soonest.
fn make_room(entries: &mut HashMap<String, CachedEntry>, now: Instant) {
    if entries.len() < MAX_ENTRIES {
        return;
    }
    entries.retain(|_, entry| entry.expires > now);
    if entries.len() >= MAX_ENTRIES
        && let Some(soonest) = entries.iter().min_by_key(|(_, e)| e.expires).map(|(name, _)| name.clone())
    {
        entries.remove(&soonest);
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, CacheUnavailable> {
        let entries = self.lock();
        Ok(entries.get(name).filter(|entry| entry.expires > Instant::now()).map(|entry| match &entry.value {
            CachedValue::Bytes(bytes) => bytes.clone(),
            CachedValue::Count(count) => count.to_string().into_bytes(),
        }))
    }

    async fn set(&self, name: &str, value: Vec<u8>, time_to_live: Duration) -> Result<(), CacheUnavailable> {
        let mut entries = self.lock();
        entries.remove(name);
        if value.len() <= MAX_VALUE_BYTES {
            let now = Instant::now();
            make_room(&mut entries, now);
            entries.insert(
                name.into(),
                CachedEntry { value: CachedValue::Bytes(value), expires: now + time_to_live },
            );
        }
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<(), CacheUnavailable> {
        self.lock().remove(name);
        Ok(())
    }

    async fn ping(&self) -> Result<(), CacheUnavailable> {
        Ok(())
    }

    async fn count(&self, name: &str, time_to_live: Duration) -> Result<u64, CacheUnavailable> {
        let mut entries = self.lock();
        let now = Instant::now();
        if let Some(entry) = entries.get_mut(name)
            && entry.expires > now
            && let CachedValue::Count(count) = &mut entry.value
        {
            *count += 1;
            return Ok(*count);
        }
        entries.remove(name);
        make_room(&mut entries, now);
        entries
            .insert(name.into(), CachedEntry { value: CachedValue::Count(1), expires: now + time_to_live });
        Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    super::super::conformance::suite!(async { MemoryCache::default() });

    #[tokio::test]
    async fn a_full_cache_forgets_what_would_expire_soonest() {
        let cache = MemoryCache::default();
        let day = Duration::from_secs(86_400);
        cache.set("soonest", vec![1], Duration::from_secs(60)).await.unwrap();
        for i in 0..MAX_ENTRIES {
            cache.set(&i.to_string(), vec![2], day).await.unwrap();
        }
        assert_eq!(cache.get("soonest").await, Ok(None));
        assert_eq!(cache.get("0").await, Ok(Some(vec![2])));
        assert_eq!(cache.lock().len(), MAX_ENTRIES);
    }
}
