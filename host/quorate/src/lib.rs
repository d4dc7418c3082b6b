//! The program: its command line, its settings, and the only place where the roles are wired together.
//!
//! | module | what |
//! |---|---|
//! | [`cli`] | one file per subcommand |
//! | [`config`] | settings as plain values, from the environment and a file |
//! | [`roles`] | one file per role: it connects to its services and serves; [`roles::embedded`] runs all roles in one process |
//!
//! The work of a role is in the crate of its name: `quorate-account`, `quorate-coordinator`, `quorate-router`,
//! `quorate-party`.

pub mod cli;
pub mod config;
pub mod hardening;
pub mod roles;
mod secret_file;
