//! Components in the sandbox, and tasks for them.

use std::sync::OnceLock;

use quorate_kit::message;
use quorate_runtime::{Grants, Plugin, Runtime, RuntimeConfig, SignTask, Task};

use crate::{compiled, components};

/// One runtime for all tests: threads and compiled code are shared, as in the process of a party.
///
/// # Panics
/// When there can be none.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let config = RuntimeConfig {
            compile_cache: Some(compiled::cache()),
            memory_bytes: 4 << 30,
            ..RuntimeConfig::default()
        };
        Runtime::new(config).unwrap()
    })
}

/// Loads the component of this name.
///
/// # Panics
/// When it can't be loaded.
pub async fn load(name: &str) -> Plugin {
    runtime().load(&components::bytes(name), &Grants::default()).await.unwrap()
}

/// The task to make a key for ECDSA.
#[must_use]
pub fn keygen() -> Task {
    Task::Keygen { scheme: "ecdsa-secp256k1".into() }
}

/// The task to sign a digest with such a key.
#[must_use]
pub fn sign(digest: [u8; 32]) -> Task {
    Task::Sign(SignTask::new("ecdsa-secp256k1", &message(digest.to_vec()).into()))
}
