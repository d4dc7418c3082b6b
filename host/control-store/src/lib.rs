//! The durable state of the account service and of the coordinator: two types, and each role is given one of them.
//!
//! | type | role | holds |
//! |---|---|---|
//! | [`AccountStore`] | account service | accounts, open orders, idempotency keys |
//! | [`SessionStore`] | coordinator | sessions, the outbox of plans, reports |
//!
//! Each role has a database of its own, which its replicas share. Nothing in here is secret, and no party trusts any of
//! it: orders, certificates and reports are signed. What an account service stores without a signature carries a MAC
//! ([`RowKeys`]).
//!
//! Architecture invariant: a method that changes something is one whole transaction with a name from the domain.

mod accounts;
mod acknowledgements;
mod bans;
mod idempotency;
mod row_key_rotation;
mod row_keys;
mod sessions;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;

pub use accounts::{Account, AccountState, AccountStore, OpenOrder};
pub use idempotency::{Acquisition, IdempotencyKey, IdempotentRequest, KEY_RETENTION, LEASE_DURATION};
pub use row_keys::{RowKeySecret, RowKeys};
pub use sessions::{
    NewSession, RecordOutcome, SESSION_RETENTION, SessionRecord, SessionStatus, SessionStore,
};

use quorate_backends::database::Schema;

/// The tables of account services.
pub const ACCOUNT_SCHEMA: Schema = Schema {
    sqlite: &[("account", include_str!("../../../migrations/account/sqlite/0001_account.sql"))],
    postgres: &[("account", include_str!("../../../migrations/account/postgres/0001_account.sql"))],
};

/// The tables of coordinators.
pub const COORDINATOR_SCHEMA: Schema = Schema {
    sqlite: &[("coordinator", include_str!("../../../migrations/coordinator/sqlite/0001_coordinator.sql"))],
    postgres: &[(
        "coordinator",
        include_str!("../../../migrations/coordinator/postgres/0001_coordinator.sql"),
    )],
};
