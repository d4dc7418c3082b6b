//! A loaded component: checked, compiled, and described by itself.

use std::sync::Arc;
use std::time::Instant;

use quorate_core::{Digest, PartyIndex, Threshold};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::bindings::{PluginPre, exports::quorate::party::protocol as wit};
use crate::capabilities::{Capabilities, Capability, Grants};
use crate::codes::PluginCodes;
use crate::descriptor::{Descriptor, check_descriptor};
use crate::engine::Runtime;
use crate::error::{LoadError, SessionErrorKind, Stop};
use crate::executor::Priority;
use crate::host_state::HostState;
use crate::limits;
use crate::linker;
use crate::memory_budget::{MemoryUse, SessionMemory};
use crate::needs::SessionNeed;
use crate::task::{Task, TaskKind};
use crate::text::sanitize;

/// A component that is ready to start sessions. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    pub(crate) inner: Arc<PluginState>,
}

pub(crate) struct PluginState {
    pub(crate) runtime: Runtime,
    pub(crate) digest: Digest,
    pub(crate) descriptor: Descriptor,
    pub(crate) ready: PluginPre<HostState>,
}

impl Plugin {
    /// SHA-256 of the component's bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    /// The description that the component gives of itself.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.inner.descriptor
    }

    /// What a session of a task needs, for a key with this threshold; `None` if the plugin does not offer the task's operation.
    #[must_use]
    pub fn need(&self, task: &Task, threshold: Threshold) -> Option<SessionNeed> {
        self.inner.descriptor.needs.of_session(task, threshold)
    }

    /// Takes the memory of a session, and waits for it behind those that came before. `None` if this process does not have so
    /// much for all sessions together.
    pub async fn take_memory(&self, need: SessionNeed) -> Option<SessionMemory> {
        let for_use = if need.signs { MemoryUse::Signing } else { MemoryUse::Other };
        self.inner.runtime.memory().take(need.memory_bytes, for_use).await
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let d = &self.inner.descriptor;
        write!(f, "Plugin({} {}, {})", d.id, d.version, self.inner.digest)
    }
}

/// The digest of a component's bytes.
#[must_use]
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

impl Runtime {
    /// Loads a component: checks its imports, compiles it (or finds it compiled), and asks it what it is.
    ///
    /// Compiling takes about a third of a second for a megabyte and keeps the calling thread busy.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn load(&self, bytes: &[u8], grants: &Grants) -> Result<Plugin, LoadError> {
        let digest = digest_of(bytes);
        let component = self.compile(bytes, digest)?;
        let imports = known_imports(&component, self.engine(), digest)?;
        check_grants(&imports, digest, |capability| grants.contains_for_some(capability))?;
        let mut linker = Linker::new(self.engine());
        let wrong_world =
            |error: wasmtime::Error| LoadError::WrongWorld { digest, reason: format!("{error:#}") };
        linker::add(&mut linker, &imports).map_err(wrong_world)?;
        let ready = linker.instantiate_pre(&component).and_then(PluginPre::new).map_err(wrong_world)?;
        let described = self.describe(&ready).await;
        let bad = |reason| LoadError::BadDescriptor { digest, reason };
        let descriptor = match described {
            Ok(descriptor) => check_descriptor(descriptor).map_err(bad)?,
            Err(SessionErrorKind::Host(reason)) => return Err(LoadError::Host { digest, reason }),
            Err(other) => return Err(bad(other.to_string())),
        };
        check_grants(&imports, digest, |capability| grants.contains(&descriptor.id, capability))?;
        let needed = descriptor.needs.largest_of_smallest();
        if !self.memory().has(needed) {
            return Err(LoadError::TooLittleMemory { digest, needed });
        }
        let runtime = self.clone();
        Ok(Plugin { inner: Arc::new(PluginState { runtime, digest, descriptor, ready }) })
    }

    /// Compiles a component into the compile cache, if there is one, and does nothing else with it.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn compile_ahead(&self, bytes: &[u8]) -> Result<(), LoadError> {
        self.compile(bytes, digest_of(bytes)).map(drop)
    }

    fn compile(&self, bytes: &[u8], digest: Digest) -> Result<Component, LoadError> {
        let cache = self.compile_cache();
        if let Some(component) = cache.and_then(|cache| cache.load(self.engine(), digest)) {
            return Ok(component);
        }
        if bytes.len() > limits::MAX_COMPONENT_BYTES {
            let reason = format!("larger than {} bytes", limits::MAX_COMPONENT_BYTES);
            return Err(LoadError::NotAComponent { digest, reason });
        }
        let component = Component::from_binary(self.engine(), bytes)
            .map_err(|error| LoadError::NotAComponent { digest, reason: sanitize(&format!("{error:#}")) })?;
        if let Some(cache) = cache {
            cache.store(self.engine(), digest, &component);
        }
        Ok(component)
    }

    async fn describe(&self, ready: &PluginPre<HostState>) -> Result<wit::Descriptor, SessionErrorKind> {
        let deadline = Instant::now() + limits::DESCRIBE_TIMEOUT;
        let capabilities = Capabilities::for_describing();
        let memory = SessionMemory::beside_the_budget(limits::MAX_MEMORY_BYTES);
        let (codes, party) = (PluginCodes::default(), PartyIndex::FIRST);
        let state =
            HostState::new("unknown", codes, party, TaskKind::Refresh, capabilities, memory, deadline);
        let mut store = state.into_store(self.engine(), limits::DESCRIBE_TIMEOUT);
        let ready = ready.clone();
        self.executor(Priority::Interactive)
            .run(async move {
                let plugin = ready.instantiate_async(&mut store).await?;
                plugin.quorate_party_protocol().call_describe(&mut store).await
            })
            .await
            .unwrap_or_else(|| Err(Stop::Host("a sandbox thread was stopped".into()).into()))
            .map_err(|error| SessionErrorKind::from_wasmtime(&error))
    }
}

/// The capabilities that a component imports. Every other import is refused by name: wasmtime would refuse it too, but later and less
/// clearly.
fn known_imports(
    component: &Component,
    engine: &Engine,
    digest: Digest,
) -> Result<Vec<Capability>, LoadError> {
    let known = |(import, _): (&str, _)| {
        let capability = Capability::ALL.into_iter().find(|capability| capability.interface() == import);
        capability.ok_or_else(|| LoadError::UnknownImport { digest, import: sanitize(import) })
    };
    component.component_type().imports(engine).map(known).collect()
}

/// Refuses a capability that is not granted.
fn check_grants(
    imports: &[Capability],
    digest: Digest,
    is_granted: impl Fn(Capability) -> bool,
) -> Result<(), LoadError> {
    match imports.iter().find(|capability| !is_granted(**capability)) {
        Some(capability) => Err(LoadError::NotGranted { digest, capability: capability.name() }),
        None => Ok(()),
    }
}
