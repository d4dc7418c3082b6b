//! What Quorate keeps and passes on: three ports with two adapters each, one for a single process and one for many.
//!
//! | port | holds | in one process | in many |
//! |---|---|---|---|
//! | [`store`] | what must survive | SQLite | PostgreSQL |
//! | [`queue`] | plans on their way to parties | memory | RabbitMQ |
//! | [`cache`] | what may be lost | memory | Redis |
//!
//! Every adapter of a port passes the same conformance suite, written against the port's trait.
//!
//! Architecture invariant: a method of a store is one whole transaction with a name from the domain. Nothing outside of
//! this crate writes SQL or knows which adapter it talks to.

// Only for the features that they turn on: see the workspace manifest.
use aes as _;
use polyval as _;

pub mod cache;
pub mod queue;
pub mod store;

#[cfg(test)]
mod testing;
