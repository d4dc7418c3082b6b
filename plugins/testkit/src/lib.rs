//! Runs a plugin's parties natively, in one process: for the plugins' own tests and as the baseline of the
//! sandbox benchmark.
//!
//! A [`Cluster`] keeps one [`MemoryHost`] per party. [`Cluster::run`] starts a session at every signer and
//! shuttles messages until all are done or one fails; a test may look at and change every message on its way.
//!
//! A test tool: it panics where a test should fail.
#![allow(clippy::expect_used, clippy::unwrap_used)]
#![deny(unsafe_code)]

mod cluster;
mod memory_host;
mod native_times;

pub use cluster::{Cluster, Ended, Hop, repair_task};
pub use memory_host::MemoryHost;
pub use native_times::print_native_times;
