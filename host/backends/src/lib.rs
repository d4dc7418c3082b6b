//! The services that Quorate stores state in and sends messages through. There are three kinds, each with one adapter
//! for a single process and one for many.
//!
//! | module | holds | in one process | in many |
//! |---|---|---|---|
//! | [`database`] | what must survive | SQLite | PostgreSQL |
//! | [`queue`] | plans on their way to parties, announcements | memory | RabbitMQ |
//! | [`cache`] | what may be lost | memory | Redis |
//!
//! Both adapters of a kind pass the same conformance suite. The suites over [`database`] are in the stores that are
//! built on it: `quorate-party-store` and `quorate-control-store`.
//!
//! Architecture invariant: this crate knows no role and no table. What a service holds is decided by those who use it.

pub mod cache;
pub mod database;
pub mod queue;
mod target;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use target::ServiceTarget;
