//! Compiled code on disk, authenticated.
//!
//! Loading compiled code that another user wrote is running that user's code. So the folder is private (0700, ours),
//! and every file carries an HMAC-SHA256 under a key that the host derives from its own secret. A file that is
//! missing, cut, changed, moved or of another wasmtime is compiled anew and replaced; it is never an error.

use std::collections::hash_map::DefaultHasher;
use std::fs::{DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use quorate_core::Digest;
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;
use zeroize::Zeroizing;

use crate::unchecked::load_authenticated;

const TAG_BYTES: usize = 32;

/// Compiled code is a few times as large as the component.
const MAX_COMPILED_FILE_BYTES: u64 = 256 << 20;

/// A folder of compiled code.
pub struct CompileCache {
    folder: PathBuf,
    key: Zeroizing<[u8; 32]>,
}

impl CompileCache {
    /// Opens the folder, and makes it if it is not there.
    ///
    /// # Errors
    /// When the folder can't be made, or belongs to another user, or others may write to it.
    pub fn open(folder: &Path, key: Zeroizing<[u8; 32]>) -> std::io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let metadata = std::fs::metadata(folder)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
            return Err(std::io::Error::new(
                std::io::ErrorKind::PermissionDenied,
                format!(
                    "{}: the folder for compiled plugins must belong to the user that runs quorate and must \
                     not be writable for others (chmod 700)",
                    folder.display()
                ),
            ));
        }
        Ok(Self { folder: folder.to_owned(), key })
    }

    /// The compiled component, if a file of ours has it.
    pub(crate) fn load(&self, engine: &Engine, digest: Digest) -> Option<Component> {
        let path = self.path(engine, digest);
        let file = File::open(&path).ok()?;
        let mut bytes = Vec::new();
        file.take(MAX_COMPILED_FILE_BYTES).read_to_end(&mut bytes).ok()?;
        let (code, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG_BYTES)?)?;
        if self.mac(engine, digest, code).verify_slice(tag).is_err() {
            tracing::warn!(%digest, "compiled plugin does not carry this host's code: compiling it anew");
            return None;
        }
        load_authenticated(engine, code)
            .inspect_err(|error| tracing::warn!(%digest, %error, "compiled plugin does not load"))
            .ok()
    }

    /// Stores a compiled component. Failing to is logged: the host works without.
    pub(crate) fn store(&self, engine: &Engine, digest: Digest, component: &Component) {
        if let Err(error) = self.try_store(engine, digest, component) {
            tracing::warn!(%digest, %error, "compiled plugin could not be stored");
        }
    }

    fn try_store(&self, engine: &Engine, digest: Digest, component: &Component) -> std::io::Result<()> {
        let code = component.serialize().map_err(std::io::Error::other)?;
        let tag = self.mac(engine, digest, &code).finalize().into_bytes();
        let path = self.path(engine, digest);
        // Each writer has a name of its own, so that two that share the folder do not mix.
        let mut suffix = [0; 8];
        getrandom::fill(&mut suffix).map_err(std::io::Error::other)?;
        let partial = path.with_extension(format!("partial-{:016x}", u64::from_be_bytes(suffix)));
        let written = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .and_then(|mut file| file.write_all(&code).and_then(|()| file.write_all(&tag)))
            .and_then(|()| std::fs::rename(&partial, &path));
        if written.is_err() {
            // The partial file is removed. It may be missing.
            let _ = std::fs::remove_file(&partial);
        }
        written
    }

    fn path(&self, engine: &Engine, digest: Digest) -> PathBuf {
        self.folder.join(format!("{digest}-{:016x}.compiled", compatibility(engine)))
    }

    fn mac(&self, engine: &Engine, digest: Digest, code: &[u8]) -> Hmac<Sha256> {
        #[allow(clippy::expect_used)]
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.key.as_slice()).expect("HMAC takes keys of any length");
        mac.update(b"quorate compiled plugin 1");
        mac.update(&compatibility(engine).to_be_bytes());
        mac.update(digest.as_bytes());
        mac.update(code);
        mac
    }
}

impl std::fmt::Debug for CompileCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompileCache").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Changes with wasmtime's version and configuration, so that neither ever reads the other's files.
fn compatibility(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}
