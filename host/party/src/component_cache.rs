//! The cache that components see: the cache of the party's process, in which nothing can be altered or exchanged without being noticed.
//!
//! Each entry has a MAC over party, component, name, value and end, under a key that only this process has. An entry that somebody else
//! wrote, moved to another name or kept beyond its time is a miss. A cache that is slow misses too, and is then left alone for a while.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use quorate_backends::cache::Cache;
use quorate_backends::database::StoreError;
use quorate_core::Digest;
use quorate_core::identity::PublicKey;
use quorate_runtime::capabilities::cache::{ComponentCache, LookingUp};
use sha2::Sha256;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// How long a component waits for a value: a step has about 50 ms.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(50);

/// How long a cache that was slow or not there is not asked.
const PAUSE: Duration = Duration::from_secs(2);

/// How long a value may take to be written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// Values that are being written. More are dropped.
const MAX_WRITES: usize = 64;

const MAC_BYTES: usize = 32;
const END_BYTES: usize = 8;

/// The cache of all components of a party's process.
pub(crate) struct PartyCache {
    cache: Arc<dyn Cache>,
    identity: PublicKey,
    key: Zeroizing<[u8; 32]>,
    /// Times are told from here: a clock can be set back.
    began: Instant,
    not_before: Mutex<Option<Instant>>,
    writes: Arc<Semaphore>,
    /// Where the cache is asked: there is no access to the network where components run.
    runtime: Handle,
}

impl PartyCache {
    /// The components' part of a cache. Called where the cache can be reached.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub(crate) fn new(cache: Arc<dyn Cache>, identity: PublicKey) -> Result<Self, StoreError> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(|_| StoreError::Conflict("the machine has no randomness"))?;
        Ok(Self {
            cache,
            identity,
            key,
            began: Instant::now(),
            not_before: Mutex::default(),
            writes: Arc::new(Semaphore::new(MAX_WRITES)),
            runtime: Handle::current(),
        })
    }

    /// The cache of one component.
    pub(crate) fn of(self: &Arc<Self>, component: Digest) -> Arc<dyn ComponentCache> {
        Arc::new(CacheOfComponent { party: Arc::clone(self), component })
    }

    fn is_paused(&self) -> bool {
        self.not_before.lock().is_some_and(|until| Instant::now() < until)
    }

    fn pause(&self) {
        *self.not_before.lock() = Some(Instant::now() + PAUSE);
    }

    /// Milliseconds since the process began.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn mac(&self, name: &str, end: [u8; END_BYTES], value: &[u8]) -> Hmac<Sha256> {
        #[allow(clippy::expect_used)]
        let mac = Hmac::<Sha256>::new_from_slice(self.key.as_slice()).expect("HMAC takes keys of any length");
        // The name has party and component, and no field but the last has a length of its own.
        let length = u64::try_from(name.len()).unwrap_or(u64::MAX).to_be_bytes();
        mac.chain_update(length).chain_update(name).chain_update(end).chain_update(value)
    }

    fn seal(&self, name: &str, value: &[u8], time_to_live: Duration) -> Vec<u8> {
        let lifetime = u64::try_from(time_to_live.as_millis()).unwrap_or(u64::MAX);
        let end = self.now().saturating_add(lifetime).to_be_bytes();
        let mac = self.mac(name, end, value).finalize().into_bytes();
        [&mac[..], &end, value].concat()
    }

    /// The value of an entry that this process has written under this name, and whose time is not over.
    fn open(&self, name: &str, entry: &[u8]) -> Option<Vec<u8>> {
        let (mac, rest) = entry.split_at_checked(MAC_BYTES)?;
        let (end, value) = rest.split_first_chunk::<END_BYTES>()?;
        self.mac(name, *end, value).verify_slice(mac).ok()?;
        (self.now() < u64::from_be_bytes(*end)).then(|| value.to_vec())
    }

    async fn look_up(&self, name: &str) -> Option<Vec<u8>> {
        match tokio::time::timeout(LOOKUP_TIMEOUT, self.cache.get(name)).await {
            Ok(Ok(entry)) => self.open(name, &entry?),
            Ok(Err(_)) | Err(_) => {
                self.pause();
                None
            }
        }
    }
}

/// The cache of one component.
struct CacheOfComponent {
    party: Arc<PartyCache>,
    component: Digest,
}

impl CacheOfComponent {
    fn name(&self, name: &str) -> String {
        format!("{}:{}:{name}", prefix_of(&self.party.identity), self.component)
    }
}

/// What the names of a party's entries begin with, after the namespace of the deployment.
#[must_use]
pub fn prefix_of(identity: &PublicKey) -> String {
    format!("components:{identity}")
}

impl ComponentCache for CacheOfComponent {
    fn get(&self, name: &str) -> LookingUp {
        if self.party.is_paused() {
            return Box::pin(std::future::ready(None));
        }
        let (party, name) = (Arc::clone(&self.party), self.name(name));
        let looking_up = self.party.runtime.spawn(async move { party.look_up(&name).await });
        Box::pin(async move { looking_up.await.ok().flatten() })
    }

    fn set(&self, name: &str, value: Vec<u8>, time_to_live: Duration) {
        if self.party.is_paused() {
            return;
        }
        let Ok(permit) = Arc::clone(&self.party.writes).try_acquire_owned() else { return };
        let (party, name) = (Arc::clone(&self.party), self.name(name));
        let entry = party.seal(&name, &value, time_to_live);
        self.party.runtime.spawn(async move {
            let writing = party.cache.set(&name, entry, time_to_live);
            if !matches!(tokio::time::timeout(WRITE_TIMEOUT, writing).await, Ok(Ok(()))) {
                party.pause();
            }
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use quorate_backends::cache::{CacheUnavailable, MemoryCache};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn component(number: u8) -> Digest {
        Digest([number; 32])
    }

    fn party(cache: Arc<dyn Cache>, identity: u8) -> Arc<PartyCache> {
        Arc::new(PartyCache::new(cache, PublicKey([identity; 32])).unwrap())
    }

    /// Waits until what was set is written.
    async fn written(party: &PartyCache) {
        let permits = u32::try_from(MAX_WRITES).unwrap();
        let _all = party.writes.acquire_many(permits).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_component_finds_what_it_has_set_until_its_time_is_over() {
        let memory = MemoryCache::default();
        let party = party(Arc::new(memory.clone()), 1);
        let cache = party.of(component(1));
        assert_eq!(cache.get("a").await, None);
        cache.set("a", vec![1, 2], MINUTE);
        written(&party).await;
        assert_eq!(cache.get("a").await, Some(vec![1, 2]));
        assert_eq!(party.of(component(2)).get("a").await, None, "another component");
        // The service keeps it for longer than it was asked to.
        let name = format!("components:{}:{}:a", PublicKey([1; 32]), component(1));
        let entry = memory.get(&name).await.unwrap().unwrap();
        memory.set(&name, entry, 10 * MINUTE).await.unwrap();
        tokio::time::advance(MINUTE).await;
        assert!(memory.get(&name).await.unwrap().is_some());
        assert_eq!(cache.get("a").await, None);
    }

    #[tokio::test]
    async fn an_entry_that_somebody_has_altered_or_moved_is_a_miss() {
        let memory = MemoryCache::default();
        let party = party(Arc::new(memory.clone()), 1);
        let cache = party.of(component(1));
        cache.set("a", vec![7; 40], MINUTE);
        cache.set("b", vec![8; 40], MINUTE);
        written(&party).await;
        let name = |entry: &str| format!("components:{}:{}:{entry}", PublicKey([1; 32]), component(1));
        let good = memory.get(&name("a")).await.unwrap().unwrap();
        for byte in 0..good.len() {
            let mut altered = good.clone();
            altered[byte] ^= 1;
            memory.set(&name("a"), altered, MINUTE).await.unwrap();
            assert_eq!(cache.get("a").await, None, "byte {byte}");
        }
        for length in 0..good.len() {
            memory.set(&name("a"), good[..length].to_vec(), MINUTE).await.unwrap();
            assert_eq!(cache.get("a").await, None, "{length} bytes");
        }
        memory.set(&name("b"), good.clone(), MINUTE).await.unwrap();
        assert_eq!(cache.get("b").await, None, "that of another name");
        memory.set(&name("a"), good, MINUTE).await.unwrap();
        assert_eq!(cache.get("a").await, Some(vec![7; 40]));
        let other_process = PartyCache::new(Arc::new(memory), PublicKey([1; 32])).unwrap();
        assert_eq!(Arc::new(other_process).of(component(1)).get("a").await, None);
    }

    /// A cache that never answers.
    struct Silent;

    #[async_trait::async_trait]
    impl Cache for Silent {
        async fn get(&self, _: &str) -> Result<Option<Vec<u8>>, CacheUnavailable> {
            std::future::pending().await
        }
        async fn set(&self, _: &str, _: Vec<u8>, _: Duration) -> Result<(), CacheUnavailable> {
            std::future::pending().await
        }
        async fn remove(&self, _: &str) -> Result<(), CacheUnavailable> {
            Ok(())
        }
        async fn count(&self, _: &str, _: Duration) -> Result<u64, CacheUnavailable> {
            Ok(1)
        }
        async fn ping(&self) -> Result<(), CacheUnavailable> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cache_that_does_not_answer_is_waited_for_once_and_takes_no_more_than_it_has_room_for() {
        let party = party(Arc::new(Silent), 1);
        let cache = party.of(component(1));
        for _ in 0..2 * MAX_WRITES {
            cache.set("a", vec![1], MINUTE);
        }
        assert_eq!(party.writes.available_permits(), 0);
        let began = Instant::now();
        for _ in 0..100 {
            assert_eq!(cache.get("a").await, None);
        }
        assert!(began.elapsed() <= 2 * LOOKUP_TIMEOUT, "{:?}", began.elapsed());
        written(&party).await;
        assert!(began.elapsed() <= 2 * WRITE_TIMEOUT, "{:?}", began.elapsed());
    }
}
