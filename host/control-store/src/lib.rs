//! The durable state of the account service and of the coordinator: two types, and each role is given one of them.
//!
//! | type | role | holds |
//! |---|---|---|
//! | [`AccountStore`] | account service | accounts, open orders, idempotency keys |
//! | [`SessionStore`] | coordinator | sessions, the outbox of plans, reports |
//!
//! All replicas of a role share its database. Nothing in here is secret, and no party trusts any of it: orders,
//! certificates and reports are signed.
//!
//! Architecture invariant: a method that changes something is one whole transaction with a name from the domain.

mod accounts;
mod idempotency;
mod sessions;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;

pub use accounts::{Account, AccountState, AccountStore, OpenOrder};
pub use idempotency::{Acquisition, IdempotencyKey, IdempotentRequest, KEY_RETENTION, LEASE_DURATION};
pub use sessions::{
    NewSession, RecordOutcome, SESSION_RETENTION, SessionRecord, SessionStatus, SessionStore,
};

use quorate_backends::database::Schema;

/// The tables of both stores, which share a database.
pub const SCHEMA: Schema = Schema {
    sqlite: &[
        ("control", include_str!("../../../migrations/control/sqlite/0001_control.sql")),
        ("sole sessions", include_str!("../../../migrations/control/sqlite/0002_sole_sessions.sql")),
    ],
    postgres: &[
        ("control", include_str!("../../../migrations/control/postgres/0001_control.sql")),
        ("sole sessions", include_str!("../../../migrations/control/postgres/0002_sole_sessions.sql")),
    ],
};
