//! The linear memory that all sessions of a process have together.
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
}

/// The linear memory of one session. It is given back when this is dropped.
#[derive(Debug)]
pub struct SessionMemory {
    bytes: usize,
    _taken: Option<OwnedSemaphorePermit>,
}

impl SessionMemory {
    /// What the session may use, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory beside the budget: a component that is asked what it is has not said yet what it needs.
    pub(crate) fn beside_the_budget(bytes: usize) -> Self {
        Self { bytes, _taken: None }
    }
}

fn pages(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_BYTES)
}

impl MemoryBudget {
    pub(crate) fn new(bytes: usize) -> Self {
        let pages = pages(bytes).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(pages)), pages }
    }

    /// Whether a session could ever have so much.
    pub(crate) fn has(&self, bytes: usize) -> bool {
        pages(bytes) <= self.pages
    }

    /// Takes memory, and waits for it behind those that came before. `None` if there is not so much at all.
    pub(crate) async fn take(&self, bytes: usize) -> Option<SessionMemory> {
        let pages = u32::try_from(pages(bytes)).ok().filter(|_| self.has(bytes))?;
        // It is never closed.
        let taken = Arc::clone(&self.free).acquire_many_owned(pages).await.ok()?;
        Some(SessionMemory { bytes, _taken: Some(taken) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_is_missing_until_it_is_given_back() {
        let budget = MemoryBudget::new(4 * PAGE_BYTES);
        let first = budget.take(3 * PAGE_BYTES - 1).await.unwrap();
        let soon = Duration::from_secs(1);
        assert!(tokio::time::timeout(soon, budget.take(PAGE_BYTES + 1)).await.is_err());
        let second = budget.take(PAGE_BYTES).await.unwrap();
        drop(first);
        assert_eq!(budget.take(PAGE_BYTES + 1).await.unwrap().bytes(), PAGE_BYTES + 1);
        drop(second);
        assert!(budget.take(5 * PAGE_BYTES).await.is_none(), "more than there is");
    }
}
