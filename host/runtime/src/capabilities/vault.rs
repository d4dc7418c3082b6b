//! The party's sealed storage, as one session sees it: a snapshot to read, and what it stages.
//!
//! Only [`Pool::take`] touches a store while the session runs. What is put or stocked stays here until the session
//! is done, and is then handed to the host, which commits all of it or nothing.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::limits;
use crate::secret::SecretBytes;
use crate::task::TaskKind;

/// How far an entry reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// This key and epoch.
    Key,
    /// This group of parties, whatever the key.
    Group,
    /// This party.
    Party,
}

/// Where an entry is: its scope, and a name of 1 to 64 characters of `a-z`, `0-9`, `.`, `_`, `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName {
    /// How far it reaches.
    pub scope: Scope,
    name: String,
}

impl EntryName {
    /// `None` when the name is not allowed.
    #[must_use]
    pub fn new(scope: Scope, name: &str) -> Option<Self> {
        is_entry_name(name).then(|| Self { scope, name: name.into() })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Whether a name is 1 to 64 characters of `a-z`, `0-9`, `.`, `_`, `-`.
pub(crate) fn is_entry_name(name: &str) -> bool {
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

/// How often an entry can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// As often as wanted: a share, auxiliary information.
    Kept,
    /// Once: a presignature. It goes into the pool.
    SingleUse,
}

/// Entries with their values.
pub type VaultEntries = BTreeMap<EntryName, SecretBytes>;

/// The entries that a session can read. The host loads them before the session starts.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Kept entries.
    pub kept: VaultEntries,
    /// Names of the single-use entries in the pool.
    pub pooled: Vec<EntryName>,
}

/// The changes that are stored when a session has ended well.
#[derive(Debug, Default)]
pub struct Staged {
    /// Entries to keep; each replaces what had its name.
    pub puts: VaultEntries,
    /// Single-use entries for the pool.
    pub stocks: VaultEntries,
    bytes: usize,
}

/// The store does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of single-use material does not answer")]
pub struct PoolUnavailable;

/// Single-use material.
pub trait Pool: Send + Sync {
    /// Takes an entry. It is durably gone before this returns, whatever becomes of the session.
    fn take(&self, name: EntryName) -> Taking;
}

/// The result of [`Pool::take`].
pub type Taking = Pin<Box<dyn Future<Output = Result<Option<SecretBytes>, PoolUnavailable>> + Send>>;

/// A pool with nothing in it.
#[derive(Clone, Copy, Debug)]
pub struct NoPool;

impl Pool for NoPool {
    fn take(&self, _: EntryName) -> Taking {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Why the vault does not do what a component asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VaultError {
    #[error("the name is not allowed")]
    InvalidName,
    #[error("the session's task does not allow it")]
    Denied,
    #[error("it is more than a session may stage")]
    Quota,
    #[error(transparent)]
    Unavailable(#[from] PoolUnavailable),
}

/// Whether a session with this task may write there: a share only when it makes one, presignatures only when it
/// presigns. A session that signs writes nothing, so it can't replace the share that it signs with.
fn may_write(task: &TaskKind, scope: Scope, kind: EntryKind) -> bool {
    let kept = kind == EntryKind::Kept;
    match task {
        TaskKind::Keygen { .. } | TaskKind::Refresh | TaskKind::Repair => scope == Scope::Key && kept,
        TaskKind::Presign { .. } => scope == Scope::Key && !kept,
        TaskKind::Auxiliary => scope == Scope::Group && kept,
        TaskKind::Prepare => scope == Scope::Party,
        TaskKind::Sign { .. } => false,
    }
}

/// Whether a session with this task may take that entry: signing, only the presignature that the plan names.
fn may_take(task: &TaskKind, name: &EntryName) -> bool {
    match task {
        TaskKind::Sign { presignatures, .. } => {
            name.scope == Scope::Key && presignatures.iter().any(|named| named == name.name())
        }
        TaskKind::Presign { .. } | TaskKind::Auxiliary | TaskKind::Prepare => true,
        TaskKind::Keygen { .. } | TaskKind::Refresh | TaskKind::Repair => false,
    }
}

/// The vault as one session has it.
pub(crate) struct VaultState {
    snapshot: Snapshot,
    pool: Arc<dyn Pool>,
    task: TaskKind,
    /// The changes that are stored when the session has ended well.
    pub(crate) staged: Staged,
}

impl VaultState {
    pub(crate) fn new(snapshot: Snapshot, pool: Arc<dyn Pool>, task: TaskKind) -> Self {
        Self { snapshot, pool, task, staged: Staged::default() }
    }

    /// The value of a kept entry.
    pub(crate) fn get(&self, scope: Scope, name: &str) -> Result<Option<SecretBytes>, VaultError> {
        let name = EntryName::new(scope, name).ok_or(VaultError::InvalidName)?;
        Ok(self.snapshot.kept.get(&name).cloned())
    }

    /// Stages an entry, if the task allows it.
    pub(crate) fn stage(
        &mut self,
        kind: EntryKind,
        scope: Scope,
        name: &str,
        value: SecretBytes,
    ) -> Result<(), VaultError> {
        let name = EntryName::new(scope, name).ok_or(VaultError::InvalidName)?;
        if !may_write(&self.task, scope, kind) {
            return Err(VaultError::Denied);
        }
        self.staged.stage(kind, name, value)
    }

    /// Begins to take a single-use entry, if the task allows it; nothing where the pool has none of this name.
    ///
    /// A name can be taken once, and only if the snapshot names it. So a session takes no more than there is, and
    /// asks the store no more often.
    pub(crate) fn begin_take(&mut self, scope: Scope, name: &str) -> Result<Option<Taking>, VaultError> {
        let name = EntryName::new(scope, name).ok_or(VaultError::InvalidName)?;
        if !may_take(&self.task, &name) {
            return Err(VaultError::Denied);
        }
        let pooled = &mut self.snapshot.pooled;
        let Some(position) = pooled.iter().position(|pooled| *pooled == name) else { return Ok(None) };
        pooled.swap_remove(position);
        Ok(Some(self.pool.take(name)))
    }

    /// The names of all entries of a scope that begin with `prefix`, sorted, at most `limit`.
    pub(crate) fn list(&self, scope: Scope, prefix: &str, limit: usize) -> Vec<String> {
        let entries = self.snapshot.kept.keys().chain(&self.snapshot.pooled);
        let names = entries.filter(|entry| entry.scope == scope && entry.name.starts_with(prefix));
        let mut names: Vec<String> = names.map(|entry| entry.name.clone()).collect();
        names.sort_unstable();
        names.truncate(limit);
        names
    }
}

impl Staged {
    fn stage(&mut self, kind: EntryKind, name: EntryName, value: SecretBytes) -> Result<(), VaultError> {
        let entries = self.puts.len() + self.stocks.len();
        let length = value.expose().len();
        let bytes = self.bytes.saturating_add(length);
        if length > limits::MAX_VAULT_VALUE_BYTES
            || bytes > limits::MAX_VAULT_STAGED_BYTES
            || entries >= limits::MAX_VAULT_STAGED_ENTRIES
        {
            return Err(VaultError::Quota);
        }
        self.bytes = bytes;
        let entries = match kind {
            EntryKind::Kept => &mut self.puts,
            EntryKind::SingleUse => &mut self.stocks,
        };
        entries.insert(name, value);
        Ok(())
    }
}
