//! What account service and coordinator must not forget: accounts, sessions, what parties reported, idempotency keys.
//!
//! All replicas of both roles share the database. Nothing in here is secret, and nothing in here is trusted by a party: orders, certificates and reports are signed.

mod accounts;
mod runs;
mod sessions;

#[cfg(test)]
mod tests;

use quorate_core::certificate::{Certificate, KeyOutputs};
use quorate_core::identity::PublicKey;
use quorate_core::{AccountId, Digest, OrderId, PartyIndex, SessionId, Threshold};

use super::StoreError;
use super::database::{Database, Schema};

/// How long an idempotency key is kept, in milliseconds: a day.
pub const KEY_KEPT: u64 = 24 * 60 * 60 * 1_000;

/// How long a run holds its idempotency key without a word, in milliseconds. Whoever runs it says every few seconds that it
/// still does; after this time another takes over what it was about.
pub const RUN_HELD: u64 = 12_000;

/// How long sessions and reports are kept, in milliseconds: 30 days, to be read by whoever asks late.
pub const SESSION_KEPT: u64 = 30 * 24 * 60 * 60 * 1_000;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Whose it is, in the caller's words.
    pub user_id: String,
    /// How far it is.
    pub state: AccountState,
    /// The signature scheme.
    pub scheme: String,
    /// The protocol that holds the shares.
    pub protocol: String,
    /// t of n.
    pub threshold: Threshold,
    /// The identity keys of its parties, in index order.
    pub parties: Vec<PublicKey>,
    /// The party whose share a user keeps, if there is one.
    pub user_party: Option<PartyIndex>,
    /// Parties that must be among the signers.
    pub mandatory: Vec<PartyIndex>,
    /// Keygens and refreshes of which it is not known yet what came of them.
    pub open: Vec<OpenOrder>,
    /// When it was made, in milliseconds since 1970.
    pub created: u64,
}

/// A keygen or refresh of which it is not known yet what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOrder {
    /// Its id.
    pub id: OrderId,
    /// When nothing can be begun for it any more, in milliseconds since 1970.
    pub expires: u64,
}

/// How far an account is.
// Nearly every account is active: a box would only be one more allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountState {
    /// Its keygen has no certificate yet.
    Creating,
    /// It has a key.
    Active {
        /// What made the current share set active.
        certificate: Certificate,
        /// The key.
        key: KeyOutputs,
    },
    /// No key came of its keygen, as far as is known: a certificate that turns up later still makes it active.
    Failed,
}

/// A session to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// Its order.
    pub order: OrderId,
    /// Whether its order has no other session: that of a keygen or refresh.
    pub sole: bool,
    /// The account.
    pub account: AccountId,
    /// The signed order, as bytes.
    pub ordered: Vec<u8>,
    /// Who takes part.
    pub signers: Vec<PartyIndex>,
    /// The chain code of the account's key, where it has one.
    pub chain_code: Option<[u8; 32]>,
    /// The component.
    pub digest: Digest,
    /// When it was made, in milliseconds since 1970.
    pub created: u64,
    /// When it ends, in milliseconds since 1970.
    pub deadline: u64,
}

/// Whether a session was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is.
    Yes,
    /// Its order has its sole session already.
    OrderHasOne,
}

/// What is known of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// As it was recorded.
    pub session: NewSession,
    /// How far it is.
    pub status: SessionStatus,
    /// Whether whoever carried it out makes none after it.
    pub last: bool,
    /// What its parties reported, in index order.
    pub reports: Vec<Vec<u8>>,
}

/// How far a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SessionStatus {
    Running,
    Completed {
        /// In milliseconds since 1970.
        at: u64,
    },
    Failed {
        /// In milliseconds since 1970.
        at: u64,
        /// A stable code.
        code: String,
        /// For people.
        reason: String,
        /// Who is held responsible.
        culprits: Vec<PartyIndex>,
    },
}

/// A caller's name for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The caller.
    pub caller: String,
    /// The key, in the caller's words.
    pub name: String,
}

/// The one run of a request that an idempotency key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The key.
    pub key: IdempotencyKey,
    /// A hash of the request.
    pub request: [u8; 32],
    /// What it is about: the id of what it makes.
    pub subject: Vec<u8>,
    /// Who runs it: a random number.
    pub runner: [u8; 16],
}

/// What there is for an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Running {
    /// The run is ours. If one before it was interrupted, this is what that one was about.
    Ours {
        /// The subject of the interrupted run.
        earlier: Option<Vec<u8>>,
    },
    /// Somebody else runs it.
    Another,
    /// It is over, and this was its answer.
    Over {
        /// The HTTP status.
        status: u16,
        /// The body.
        answer: String,
    },
    /// The key stands for another request.
    Differs,
}

/// What account service and coordinator must not forget. Clones share the database.
#[derive(Clone, Debug)]
pub struct ControlStore {
    database: Database,
}

impl ControlStore {
    /// Brings the schema of a database up to date.
    ///
    /// # Errors
    /// See [`StoreError`]; the same holds for all methods.
    pub async fn open(database: Database) -> Result<Self, StoreError> {
        database.migrate(Schema::Control).await?;
        Ok(Self { database })
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }
}
