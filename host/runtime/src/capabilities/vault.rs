//! The party's sealed storage, as one session sees it: a snapshot to read, and what it stages.
//!
//! Only [`Pool::take`] touches a store while the session runs. What is put or stocked stays here until the session
//! is done, and is then handed to the host, which commits all of it or nothing.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::bindings::quorate::party::vault as wit;
use crate::session::{HostState, TaskKind};
use crate::{SecretBytes, limits};

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

/// Entries with their values.
pub type Entries = BTreeMap<EntryName, SecretBytes>;

/// What a session can read: loaded by the host before it starts.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Kept entries.
    pub kept: Entries,
    /// Names of the single-use entries in the pool.
    pub pooled: Vec<EntryName>,
}

/// What a session wants kept when it has ended well.
#[derive(Debug, Default)]
pub struct Staged {
    /// Entries to keep; each replaces what had its name.
    pub puts: Entries,
    /// Single-use entries for the pool.
    pub stocks: Entries,
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

/// What [`Pool::take`] returns.
pub type Taking = Pin<Box<dyn Future<Output = Result<Option<SecretBytes>, PoolUnavailable>> + Send>>;

/// A pool with nothing in it.
#[derive(Clone, Copy, Debug)]
pub struct NoPool;

impl Pool for NoPool {
    fn take(&self, _: EntryName) -> Taking {
        Box::pin(std::future::ready(Ok(None)))
    }
}

type Answer<T> = Result<T, wit::VaultError>;

/// Whether a session with this task may write there: a share only when it makes one, presignatures only when it
/// presigns. A session that signs writes nothing, so it can't replace the share that it signs with.
fn may_write(task: &TaskKind, scope: Scope, single_use: bool) -> bool {
    match task {
        TaskKind::Keygen { .. } | TaskKind::Refresh | TaskKind::Repair => scope == Scope::Key && !single_use,
        TaskKind::Presign { .. } => scope == Scope::Key && single_use,
        TaskKind::Auxiliary => scope == Scope::Group && !single_use,
        TaskKind::Prepare => scope == Scope::Party,
        TaskKind::Sign { .. } => false,
    }
}

/// Whether a session with this task may take that entry: signing, only the presignature that the plan names.
fn may_take(task: &TaskKind, name: &EntryName) -> bool {
    match task {
        TaskKind::Sign { presignature } => {
            name.scope == Scope::Key && presignature.as_deref() == Some(name.name())
        }
        TaskKind::Presign { .. } | TaskKind::Auxiliary | TaskKind::Prepare => true,
        TaskKind::Keygen { .. } | TaskKind::Refresh | TaskKind::Repair => false,
    }
}

fn entry(scope: wit::Scope, name: &str) -> Answer<EntryName> {
    EntryName::new(scope.into(), name).ok_or(wit::VaultError::InvalidName)
}

impl Staged {
    fn stage(&mut self, single_use: bool, name: EntryName, value: SecretBytes) -> Answer<()> {
        let entries = self.puts.len() + self.stocks.len();
        let length = value.expose().len();
        let bytes = self.bytes.saturating_add(length);
        if length > limits::VAULT_VALUE_BYTES
            || bytes > limits::VAULT_STAGED_BYTES
            || entries >= limits::VAULT_STAGED_ENTRIES
        {
            return Err(wit::VaultError::Quota);
        }
        self.bytes = bytes;
        let entries = if single_use { &mut self.stocks } else { &mut self.puts };
        entries.insert(name, value);
        Ok(())
    }
}

pub(super) fn add_to(interface: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
    interface.func_wrap(
        "get",
        |mut store: StoreContextMut<'_, HostState>, (scope, name): (wit::Scope, String)| {
            let state = store.data_mut();
            let found = entry(scope, &name).map(|name| state.capabilities.vault.kept.get(&name).cloned());
            let bytes = found.as_ref().ok().and_then(|v| v.as_ref()).map_or(0, |v| v.expose().len());
            state.charge(name.len().saturating_add(bytes))?;
            Ok((found.map(|value| value.map(|value| state.lend(value.expose()))),))
        },
    )?;
    interface.func_wrap(
        "put",
        |mut store: StoreContextMut<'_, HostState>, (scope, name, value): (wit::Scope, String, Vec<u8>)| {
            Ok((stage(&mut store, false, scope, &name, value)?,))
        },
    )?;
    interface.func_wrap(
        "stock",
        |mut store: StoreContextMut<'_, HostState>, (scope, name, value): (wit::Scope, String, Vec<u8>)| {
            Ok((stage(&mut store, true, scope, &name, value)?,))
        },
    )?;
    interface.func_wrap_async(
        "take",
        |mut store: StoreContextMut<'_, HostState>, (scope, name): (wit::Scope, String)| {
            Box::new(async move {
                let state = store.data_mut();
                state.charge(name.len())?;
                let name = match entry(scope, &name) {
                    Ok(name) if may_take(&state.task, &name) => name,
                    Ok(_) => return Ok((Err(wit::VaultError::Denied),)),
                    Err(error) => return Ok((Err(error),)),
                };
                // What the snapshot does not name is not there, and a name is good for one take: so a session takes
                // no more than there is, and asks the store no more often.
                let pooled = &mut state.capabilities.vault.pooled;
                let Some(position) = pooled.iter().position(|pooled| *pooled == name) else {
                    return Ok((Ok(None),));
                };
                pooled.swap_remove(position);
                let taking = state.capabilities.pool.take(name);
                Ok((match taking.await {
                    Ok(Some(value)) => {
                        let state = store.data_mut();
                        state.charge(value.expose().len())?;
                        Ok(Some(state.lend(value.expose())))
                    }
                    Ok(None) => Ok(None),
                    Err(PoolUnavailable) => Err(wit::VaultError::Unavailable),
                },))
            })
        },
    )?;
    interface.func_wrap(
        "list",
        |mut store: StoreContextMut<'_, HostState>, (scope, prefix, limit): (wit::Scope, String, u16)| {
            let state = store.data_mut();
            state.charge(prefix.len().saturating_add(usize::from(limit) * 64))?;
            let snapshot = &state.capabilities.vault;
            let scope = Scope::from(scope);
            let mut names: Vec<String> = snapshot
                .kept
                .keys()
                .chain(&snapshot.pooled)
                .filter(|entry| entry.scope == scope && entry.name.starts_with(&prefix))
                .map(|entry| entry.name.clone())
                .collect();
            names.sort_unstable();
            names.truncate(limit.into());
            Ok((Answer::Ok(names),))
        },
    )
}

fn stage(
    store: &mut StoreContextMut<'_, HostState>,
    single_use: bool,
    scope: wit::Scope,
    name: &str,
    value: Vec<u8>,
) -> wasmtime::Result<Answer<()>> {
    let value = SecretBytes::new(value);
    let state = store.data_mut();
    state.charge(name.len().saturating_add(value.expose().len()))?;
    Ok(match entry(scope, name) {
        Ok(name) if may_write(&state.task, name.scope, single_use) => {
            state.staged.stage(single_use, name, value)
        }
        Ok(_) => Err(wit::VaultError::Denied),
        Err(error) => Err(error),
    })
}

impl From<wit::Scope> for Scope {
    fn from(scope: wit::Scope) -> Self {
        match scope {
            wit::Scope::Key => Self::Key,
            wit::Scope::Group => Self::Group,
            wit::Scope::Party => Self::Party,
        }
    }
}
