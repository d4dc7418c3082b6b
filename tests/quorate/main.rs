//! All integration tests, in one binary. Each is named after the promise that it keeps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod api;
mod compile_cache;
mod dkls23;
mod faulty;
mod hostile;
mod loading;
mod lying_coordinator;
mod party;
mod process;
mod skeletons;
mod structure;
mod verify;
mod wipe;
