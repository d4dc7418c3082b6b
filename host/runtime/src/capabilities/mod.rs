//! The capabilities of a component, a module for each: its backend, and its state in one session. The modules of the
//! same names under `linker` bind them to the imports of the component.

pub mod bus;
pub mod cache;
pub mod entropy;
pub(crate) mod hash;
pub mod log;
pub mod vault;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codes::PluginText;

/// A capability, by the name of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// The party's sealed storage.
    Vault,
    /// Values that may vanish.
    Cache,
    /// Events that a component publishes.
    Bus,
    /// Random bytes.
    Entropy,
    /// SHA-256.
    Hash,
    /// Log lines with codes.
    Log,
}

impl Capability {
    /// All that there are.
    pub const ALL: [Self; 6] = [Self::Vault, Self::Cache, Self::Bus, Self::Entropy, Self::Hash, Self::Log];

    /// Its short name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::Cache => "cache",
            Self::Bus => "bus",
            Self::Entropy => "entropy",
            Self::Hash => "hash",
            Self::Log => "log",
        }
    }

    /// The interface's full name in the contract.
    #[must_use]
    pub fn interface(self) -> &'static str {
        match self {
            Self::Vault => "quorate:party/vault@0.1.0",
            Self::Cache => "quorate:party/cache@0.1.0",
            Self::Bus => "quorate:party/bus@0.1.0",
            Self::Entropy => "quorate:party/entropy@0.1.0",
            Self::Hash => "quorate:party/hash@0.1.0",
            Self::Log => "quorate:party/log@0.1.0",
        }
    }
}

/// The capabilities that the operator grants to plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    to_all: Vec<Capability>,
    to_protocols: BTreeMap<String, Vec<Capability>>,
}

impl Default for Grants {
    /// To all plugins vault, entropy and log, which a protocol can't do without, and hash, which gives nothing away.
    fn default() -> Self {
        Self::of(&[Capability::Vault, Capability::Entropy, Capability::Hash, Capability::Log])
    }
}

impl Grants {
    /// Exactly these, to all plugins.
    #[must_use]
    pub fn of(capabilities: &[Capability]) -> Self {
        Self { to_all: capabilities.to_vec(), to_protocols: BTreeMap::new() }
    }

    /// All that there are, to all plugins.
    #[must_use]
    pub fn all() -> Self {
        Self::of(&Capability::ALL)
    }

    /// The same, and these to the plugins of one protocol.
    #[must_use]
    pub fn and_to(mut self, protocol: &str, capabilities: &[Capability]) -> Self {
        self.to_protocols.entry(protocol.to_owned()).or_default().extend(capabilities);
        self
    }

    /// Whether the plugins of a protocol have a capability.
    pub(crate) fn contains(&self, protocol: &str, capability: Capability) -> bool {
        let of_protocol = self.to_protocols.get(protocol);
        self.to_all.contains(&capability) || of_protocol.is_some_and(|some| some.contains(&capability))
    }

    /// Whether any plugin has it. Which protocol a component implements is known when it has described itself.
    pub(crate) fn contains_for_some(&self, capability: Capability) -> bool {
        self.to_all.contains(&capability) || self.to_protocols.values().any(|some| some.contains(&capability))
    }
}

/// The backends of the capabilities in one session.
pub struct Capabilities {
    /// The party's storage, as loaded for this session.
    pub vault: vault::Snapshot,
    /// Single-use material.
    pub pool: Arc<dyn vault::Pool>,
    /// Values that may vanish.
    pub cache: Arc<dyn cache::ComponentCache>,
    /// Where events go.
    pub bus: Arc<dyn bus::Bus>,
    /// Where randomness comes from.
    pub entropy: Arc<dyn entropy::Entropy>,
    /// Whether the component's texts are kept, or only its codes.
    pub texts: PluginText,
}

impl Capabilities {
    /// Capabilities for a component that describes itself: without backends and without randomness.
    pub(crate) fn for_describing() -> Self {
        Self { entropy: Arc::new(entropy::NoEntropy), ..Self::without_backends() }
    }

    /// Capabilities without backends, except for the randomness of the operating system: an empty vault and pool, a
    /// cache that forgets, events that are dropped, log codes without texts.
    #[must_use]
    pub fn without_backends() -> Self {
        Self {
            vault: vault::Snapshot::default(),
            pool: Arc::new(vault::NoPool),
            cache: Arc::new(cache::NoCache),
            bus: Arc::new(bus::NoBus),
            entropy: Arc::new(entropy::OsEntropy),
            texts: PluginText::Discarded,
        }
    }
}
