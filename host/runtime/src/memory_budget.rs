//! The linear memory that all sessions of a process have together. Sessions that do not sign have half of it at most: a burst of
//! key generations does not keep signatures waiting.
//!
//! A session takes what its plugin says that it needs before anything of it runs, and never more. So a session that has
//! begun is not ended because others have taken the memory meanwhile.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit in which memory is given: a page of WebAssembly, in bytes.
const PAGE_BYTES: usize = 64 << 10;

/// The memory of all sessions.
pub(crate) struct MemoryBudget {
    free: Arc<Semaphore>,
    pages: usize,
    /// What sessions that do not sign may have of it.
    for_others: Arc<Semaphore>,
}

/// What a session does with its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryUse {
    /// It signs.
    Signing,
    /// It makes shares or material.
    Other,
}

/// The linear memory of one session. It is given back when this is dropped.
#[derive(Debug)]
pub struct SessionMemory {
    bytes: usize,
    _taken: Vec<OwnedSemaphorePermit>,
}

impl SessionMemory {
    /// What the session may use, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory beside the budget: a component that is asked what it is has not said yet what it needs.
    pub(crate) fn beside_the_budget(bytes: usize) -> Self {
        Self { bytes, _taken: Vec::new() }
    }
}

fn pages(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_BYTES)
}

impl MemoryBudget {
    pub(crate) fn new(bytes: usize) -> Self {
        let pages = pages(bytes).min(Semaphore::MAX_PERMITS);
        let for_others = Arc::new(Semaphore::new(pages.div_ceil(2)));
        Self { free: Arc::new(Semaphore::new(pages)), pages, for_others }
    }

    /// Whether a session could ever have so much.
    pub(crate) fn has(&self, bytes: usize) -> bool {
        pages(bytes) <= self.pages
    }

    /// Takes memory, and waits for it behind those of its use that came before. `None` if there is not so much at all.
    pub(crate) async fn take(&self, bytes: usize, for_use: MemoryUse) -> Option<SessionMemory> {
        if !self.has(bytes) {
            return None;
        }
        let mut taken = Vec::new();
        if for_use == MemoryUse::Other {
            // One that needs more than the half takes all of it.
            let half = pages(bytes).min(self.pages.div_ceil(2));
            taken.push(acquire(&self.for_others, half).await?);
        }
        taken.push(acquire(&self.free, pages(bytes)).await?);
        Some(SessionMemory { bytes, _taken: taken })
    }
}

/// It is never closed, and has fewer permits than the largest number.
async fn acquire(semaphore: &Arc<Semaphore>, pages: usize) -> Option<OwnedSemaphorePermit> {
    Arc::clone(semaphore).acquire_many_owned(u32::try_from(pages).ok()?).await.ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_is_missing_until_it_is_given_back() {
        let budget = MemoryBudget::new(4 * PAGE_BYTES);
        let first = budget.take(3 * PAGE_BYTES - 1, MemoryUse::Signing).await.unwrap();
        let soon = Duration::from_secs(1);
        assert!(tokio::time::timeout(soon, budget.take(PAGE_BYTES + 1, MemoryUse::Signing)).await.is_err());
        let second = budget.take(PAGE_BYTES, MemoryUse::Signing).await.unwrap();
        drop(first);
        assert_eq!(budget.take(PAGE_BYTES + 1, MemoryUse::Signing).await.unwrap().bytes(), PAGE_BYTES + 1);
        drop(second);
        assert!(budget.take(5 * PAGE_BYTES, MemoryUse::Signing).await.is_none(), "more than there is");
    }

    #[tokio::test(start_paused = true)]
    async fn what_makes_shares_leaves_half_of_the_memory_to_signings() {
        let budget = MemoryBudget::new(4 * PAGE_BYTES);
        let soon = Duration::from_secs(1);
        let first = budget.take(2 * PAGE_BYTES, MemoryUse::Other).await.unwrap();
        let more = budget.take(PAGE_BYTES, MemoryUse::Other);
        let mut more = std::pin::pin!(more);
        assert!(tokio::time::timeout(soon, &mut more).await.is_err());
        // Signings do not stand behind the one that waits.
        let signing = tokio::time::timeout(soon, budget.take(2 * PAGE_BYTES, MemoryUse::Signing)).await;
        assert!(signing.is_ok_and(|memory| memory.is_some()));
        drop(first);
        drop(more.await.unwrap());
        assert!(
            budget.take(4 * PAGE_BYTES, MemoryUse::Other).await.is_some(),
            "one larger than the half never runs"
        );
    }
}
