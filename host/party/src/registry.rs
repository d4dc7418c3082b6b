//! Which components new sessions may run on at this party (rule 11).
//!
//! A newer component of a protocol is put beside the older one, and both are active: the coordinator picks the newest
//! that a quorum has in common. One that made a signature that does not verify is suspended (rule 7), for good: only a
//! component with another digest takes its place.

use std::collections::{BTreeMap, HashMap, HashSet};

use parking_lot::RwLock;
use quorate_core::Digest;
use quorate_core::admission::PluginFacts;
use quorate_core::order::Version;
use quorate_runtime::{Plugin, PluginOperation};
use tokio::sync::Notify;

/// A component that new sessions may run on.
#[derive(Clone)]
pub(crate) struct RegisteredPlugin {
    pub(crate) plugin: Plugin,
    pub(crate) facts: PluginFacts,
}

/// The components of one party.
#[derive(Default)]
pub(crate) struct Registry {
    inner: RwLock<RegistryState>,
    minimum: BTreeMap<String, Version>,
    changed: Notify,
}

#[derive(Default)]
struct RegistryState {
    active: HashMap<Digest, RegisteredPlugin>,
    suspended: HashSet<Digest>,
}

/// Why a party runs no sessions on a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotInstalled {
    /// It made a bad signature here, or an operator suspended it.
    #[error("the plugin is suspended at this party: `quorate admin registry` lists it")]
    Suspended,
    /// The operator allows newer versions only.
    #[error(
        "the plugin's version is older than {0}, the oldest that QUORATE_MINIMUM_PLUGIN allows for its protocol"
    )]
    TooOld(Version),
    /// Its version can't be compared with those of others: its author must act.
    #[error("the plugin's version is not of the form 1.2.3")]
    VersionNotComparable,
}

impl Registry {
    /// No component yet. Of each protocol nothing older than its `minimum` is taken.
    pub(crate) fn new(
        suspended: impl IntoIterator<Item = Digest>,
        minimum: BTreeMap<String, Version>,
    ) -> Self {
        let inner = RegistryState { active: HashMap::new(), suspended: suspended.into_iter().collect() };
        Self { inner: RwLock::new(inner), minimum, changed: Notify::new() }
    }

    /// Lets new sessions run on a component.
    ///
    /// # Errors
    /// See [`NotInstalled`].
    pub(crate) fn install(&self, plugin: &Plugin) -> Result<(), NotInstalled> {
        let descriptor = plugin.descriptor();
        let version = descriptor.version.parse().map_err(|_| NotInstalled::VersionNotComparable)?;
        if let Some(&minimum) = self.minimum.get(&descriptor.id).filter(|minimum| version < **minimum) {
            return Err(NotInstalled::TooOld(minimum));
        }
        let facts = PluginFacts {
            digest: plugin.digest(),
            protocol: descriptor.id.clone(),
            version,
            schemes: descriptor.schemes.clone(),
            max_parties: descriptor.max_parties,
            open_signings: descriptor.open_signings,
            share_formats: descriptor.share_formats.clone(),
            presigns: descriptor.operations.contains(&PluginOperation::Presign),
        };
        let mut inner = self.inner.write();
        if inner.suspended.contains(&plugin.digest()) {
            return Err(NotInstalled::Suspended);
        }
        inner.active.insert(plugin.digest(), RegisteredPlugin { plugin: plugin.clone(), facts });
        self.changed.notify_one();
        Ok(())
    }

    /// Lets no new session run on a component.
    pub(crate) fn suspend(&self, digest: Digest) {
        let mut inner = self.inner.write();
        inner.suspended.insert(digest);
        inner.active.remove(&digest);
        self.changed.notify_one();
        tracing::error!(%digest, "the plugin is suspended at this party");
    }

    /// Waits until something has been installed or suspended since the last time.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn active(&self, digest: Digest) -> Option<RegisteredPlugin> {
        let inner = self.inner.read();
        inner.active.get(&digest).cloned()
    }

    /// The facts of all active components.
    pub(crate) fn facts(&self) -> Vec<PluginFacts> {
        self.inner.read().active.values().map(|entry| entry.facts.clone()).collect()
    }

    /// All active components.
    pub(crate) fn all(&self) -> Vec<Plugin> {
        let inner = self.inner.read();
        inner.active.values().map(|entry| entry.plugin.clone()).collect()
    }
}
