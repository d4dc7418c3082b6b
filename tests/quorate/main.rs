//! All integration tests, in one binary: a folder for each subject, and each test named after the promise that it
//! keeps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod adversary;
mod api;
mod coordinator;
mod deployment;
mod outage;
mod party;
mod sandbox;
mod schnorr;
mod structure;
