//! All integration tests, in one binary. Each is named after the promise that it keeps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod admin;
mod api;
mod clocks;
mod compile_cache;
mod dkls23;
mod faults;
mod faulty;
mod hostile;
mod hostile_deployment;
mod loading;
mod lying_coordinator;
mod outages;
mod party;
mod process;
mod processes;
mod settings;
mod skeletons;
mod structure;
mod tls;
mod user_shares;
mod verify;
mod websocket;
mod wipe;
