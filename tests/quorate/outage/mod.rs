//! Processes that die and services that go away.

mod killed_processes;
mod presignatures;
mod services;
