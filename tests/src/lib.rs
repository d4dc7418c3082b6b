//! What tests and benchmarks share.
//!
//! A test tool: it panics where a test should fail.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::unwrap_used)]

pub mod components;
pub mod deployment;
pub mod faults;
pub mod fleet;
pub mod random;
pub mod sandbox;
pub mod server;
pub mod services;
pub mod user;
pub mod verified;
pub mod wire;
