//! Code that tests and benchmarks share.
//!
//! | module | what |
//! |---|---|
//! | [`embedded`] | all roles in this process |
//! | [`single_process`] | `quorate serve all --embedded` as a process of its own |
//! | [`fleet`], [`fleet_calls`] | every role as processes of their own, several of each, on real services |
//! | [`sandbox_tasks`] | components in the sandbox |
//! | [`in_memory`] | the gRPC service of one role, without a network |
//! | [`hostile_router`] | a router that changes, delays and drops frames |
//! | [`services`] | PostgreSQL, RabbitMQ and Redis |
//! | [`own_memory`] | what a process still has in its memory |
//! | [`fault_injection`], [`cut_connection`] | processes that are killed, connections that are cut |
//! | [`components`], [`compiled`], [`user`], [`random`], [`verification`] | plugins, users, reproducible randomness, independent verification |
//!
//! A test tool: it panics where a test should fail.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::unwrap_used)]

pub mod compiled;
pub mod components;
pub mod cut_connection;
pub mod embedded;
pub mod fault_injection;
pub mod fleet;
pub mod fleet_calls;
pub mod hostile_router;
pub mod in_memory;
pub mod own_memory;
pub mod random;
pub mod sandbox_tasks;
pub mod services;
pub mod single_process;
pub mod user;
pub mod verification;
