//! The keys of what is in the pool of this process.

use std::collections::HashMap;

use parking_lot::Mutex;
use quorate_backends::database::StoreError;
use quorate_core::{PoolId, PreparedId};

use super::crypter::DataKey;

/// The keys of the entries that this process has made and not used.
pub(super) struct PoolKeys {
    pub(super) id: PoolId,
    pub(super) keys: Mutex<HashMap<PreparedId, DataKey>>,
}

impl PoolKeys {
    pub(super) fn new() -> Result<Self, StoreError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| StoreError::Conflict("no randomness"))?;
        Ok(Self { id: PoolId(id), keys: Mutex::default() })
    }

    /// Gives up the keys of entries whose rows are deleted.
    pub(super) fn forget(&self, deleted: &[PreparedId]) {
        let mut keys = self.keys.lock();
        for id in deleted {
            keys.remove(id);
        }
    }
}

impl std::fmt::Debug for PoolKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PoolKeys({:?})", self.id)
    }
}
