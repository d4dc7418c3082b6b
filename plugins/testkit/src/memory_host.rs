//! The capabilities in memory.

use std::collections::BTreeMap;

use quorate_plugin_sdk::{Host, Level, Scope, VaultError};
use zeroize::Zeroizing;

type Entries = BTreeMap<(Scope, String), Vec<u8>>;

/// One party's host: a vault whose staged entries are committed by [`MemoryHost::commit`], and a list of what the
/// plugin logged.
#[derive(Clone, Default)]
pub struct MemoryHost {
    kept: Entries,
    pool: Entries,
    staged: Entries,
    stocked: Entries,
    /// The log, in order.
    pub logs: Vec<(Level, u16, String)>,
}

impl MemoryHost {
    /// Makes staged entries real, as a host does when a session has ended well.
    pub fn commit(&mut self) {
        self.kept.append(&mut self.staged);
        self.pool.append(&mut self.stocked);
    }

    /// Forgets staged entries, as a host does when a session has failed.
    pub fn roll_back(&mut self) {
        self.staged.clear();
        self.stocked.clear();
    }

    /// Whether nothing is kept or in the pool.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.pool.is_empty()
    }

    /// Puts an entry in place, as if an earlier session had left it.
    pub fn seed(&mut self, scope: Scope, name: &str, value: Vec<u8>) {
        self.kept.insert((scope, name.into()), value);
    }
}

impl Host for MemoryHost {
    fn vault_get(&self, scope: Scope, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        Ok(self.kept.get(&(scope, name.into())).cloned().map(Zeroizing::new))
    }

    fn vault_put(&mut self, scope: Scope, name: &str, value: &[u8]) -> Result<(), VaultError> {
        self.staged.insert((scope, name.into()), value.to_vec());
        Ok(())
    }

    fn vault_take(&mut self, scope: Scope, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        Ok(self.pool.remove(&(scope, name.into())).map(Zeroizing::new))
    }

    fn vault_stock(&mut self, scope: Scope, name: &str, value: &[u8]) -> Result<(), VaultError> {
        self.stocked.insert((scope, name.into()), value.to_vec());
        Ok(())
    }

    fn vault_list(&self, scope: Scope, prefix: &str, limit: u16) -> Result<Vec<String>, VaultError> {
        let mut names: Vec<_> = self
            .kept
            .keys()
            .chain(self.pool.keys())
            .filter(|(s, name)| *s == scope && name.starts_with(prefix))
            .map(|(_, name)| name.clone())
            .collect();
        names.sort();
        names.truncate(limit.into());
        Ok(names)
    }

    fn log(&mut self, level: Level, code: u16, message: &str) {
        self.logs.push((level, code, message.into()));
    }
}
