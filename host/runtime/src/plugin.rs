//! A loaded component: checked, compiled, and described by itself.

use std::sync::Arc;
use std::time::Instant;

use quorate_core::{Digest, PartyIndex, Threshold};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::bindings::{PluginPre, exports::quorate::party::protocol as wit};
use crate::capabilities::{Capabilities, Capability, Grants};
use crate::engine::Runtime;
use crate::error::{LoadError, SessionErrorKind, Stop};
use crate::executor::Priority;
use crate::limits;
use crate::output::tame;
use crate::session::{HostState, TaskKind};

/// What a plugin says it is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The protocol's name: `dkls23`.
    pub id: String,
    /// Semantic version.
    pub version: String,
    /// Signature schemes it serves.
    pub schemes: Vec<String>,
    /// What it can do.
    pub operations: Vec<Operation>,
    /// The largest n.
    pub max_parties: u16,
    /// Share formats that it reads, ascending; the last is the one it writes.
    pub share_formats: Vec<u32>,
}

/// A kind of session, or an ability of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operation {
    Keygen,
    Sign,
    Presign,
    Refresh,
    Repair,
    Auxiliary,
    Prepare,
    Derivation,
}

/// A component that is ready to start sessions. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
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

    /// What the component says it is.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.inner.descriptor
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
        check_imports(&component, self.engine(), digest, grants)?;
        let mut linker = Linker::new(self.engine());
        let wrong_world =
            |error: wasmtime::Error| LoadError::WrongWorld { digest, reason: format!("{error:#}") };
        grants.add_to(&mut linker).map_err(wrong_world)?;
        let ready = linker.instantiate_pre(&component).and_then(PluginPre::new).map_err(wrong_world)?;
        let described = self.describe(&ready).await;
        let bad = |reason| LoadError::BadDescriptor { digest, reason };
        let descriptor = match described {
            Ok(descriptor) => check_descriptor(descriptor).map_err(bad)?,
            Err(SessionErrorKind::Host(reason)) => return Err(LoadError::Host { digest, reason }),
            Err(other) => return Err(bad(other.to_string())),
        };
        let runtime = self.clone();
        Ok(Plugin { inner: Arc::new(Inner { runtime, digest, descriptor, ready }) })
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
        if bytes.len() > limits::COMPONENT_BYTES {
            let reason = format!("larger than {} bytes", limits::COMPONENT_BYTES);
            return Err(LoadError::NotAComponent { digest, reason });
        }
        let component = Component::from_binary(self.engine(), bytes)
            .map_err(|error| LoadError::NotAComponent { digest, reason: tame(&format!("{error:#}")) })?;
        if let Some(cache) = cache {
            cache.store(self.engine(), digest, &component);
        }
        Ok(component)
    }

    async fn describe(&self, ready: &PluginPre<HostState>) -> Result<wit::Descriptor, SessionErrorKind> {
        let deadline = Instant::now() + limits::DESCRIBE_TIME;
        let nothing = Capabilities::nothing();
        let state = HostState::new("unknown", PartyIndex::FIRST, TaskKind::Refresh, nothing, deadline);
        let mut store = state.into_store(self.engine(), limits::DESCRIBE_TIME);
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

/// Refuses every import that is not a granted capability, by name: wasmtime would refuse it too, but later and
/// less clearly.
fn check_imports(
    component: &Component,
    engine: &Engine,
    digest: Digest,
    grants: &Grants,
) -> Result<(), LoadError> {
    for (import, _) in component.component_type().imports(engine) {
        match Capability::ALL.into_iter().find(|c| c.interface() == import) {
            Some(capability) if grants.contains(capability) => {}
            Some(_) => return Err(LoadError::NotGranted { digest, import: import.into() }),
            None => return Err(LoadError::UnknownImport { digest, import: tame(import) }),
        }
    }
    Ok(())
}

/// Names and versions end up in file names, logs and answers: only plain ones are taken.
fn is_plain(text: &str, extra: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || extra.as_bytes().contains(&b))
}

/// `1.2.3`, or `1.2.3-name` before a release (semver without build metadata).
fn is_version(text: &str) -> bool {
    let (numbers, name) = text.split_once('-').map_or((text, None), |(n, name)| (n, Some(name)));
    let parts: Vec<&str> = numbers.split('.').collect();
    parts.len() == 3
        && parts.iter().all(|p| p.parse::<u32>().is_ok() && is_plain(p, ""))
        && name.is_none_or(|name| is_plain(name, "."))
}

fn check_descriptor(d: wit::Descriptor) -> Result<Descriptor, String> {
    if !is_plain(&d.id, "-") {
        return Err("its id is not 1 to 64 characters of a-z, 0-9 and -".into());
    }
    if !is_version(&d.version) {
        return Err("its version is not of the form 1.2.3 or 1.2.3-name".into());
    }
    if d.schemes.is_empty() || d.schemes.len() > 16 || !d.schemes.iter().all(|s| is_plain(s, "-")) {
        return Err("its schemes are not 1 to 16 plain names".into());
    }
    if !(2..=Threshold::MAX_PARTIES).contains(&d.max_parties) {
        return Err(format!("it serves up to {} parties", d.max_parties));
    }
    if d.share_formats.is_empty() || d.share_formats.len() > 64 || !d.share_formats.is_sorted() {
        return Err("its share formats are not a short ascending list".into());
    }
    let operations = [
        (wit::Operations::KEYGEN, Operation::Keygen),
        (wit::Operations::SIGN, Operation::Sign),
        (wit::Operations::PRESIGN, Operation::Presign),
        (wit::Operations::REFRESH, Operation::Refresh),
        (wit::Operations::REPAIR, Operation::Repair),
        (wit::Operations::AUXILIARY, Operation::Auxiliary),
        (wit::Operations::PREPARE, Operation::Prepare),
        (wit::Operations::DERIVATION, Operation::Derivation),
    ];
    Ok(Descriptor {
        id: d.id,
        version: d.version,
        schemes: d.schemes,
        operations: operations
            .into_iter()
            .filter(|(f, _)| d.operations.contains(*f))
            .map(|(_, o)| o)
            .collect(),
        max_parties: d.max_parties,
        share_formats: d.share_formats,
    })
}
