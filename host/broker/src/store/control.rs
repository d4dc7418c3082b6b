//! What account service and coordinator must not forget: accounts, sessions, what parties reported, idempotency keys.
//!
//! Nothing in here is secret, and nothing in here is trusted by a party: orders, certificates and reports are signed.

use async_trait::async_trait;
use quorate_core::certificate::{Certificate, KeyOutputs};
use quorate_core::identity::PublicKey;
use quorate_core::{AccountId, Digest, OrderId, PartyIndex, SessionId, Threshold};

use super::StoreError;

/// How long an idempotency key is kept, in milliseconds: a day.
pub const KEY_KEPT: u64 = 24 * 60 * 60 * 1_000;

/// How long a run may hold its idempotency key without an answer, in milliseconds. Longer than any order lives, so that
/// what is taken over can't still be running.
pub const RUN_HELD: u64 = 660_000;

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
    /// Keygens and refreshes of which it is not known yet what came of them.
    pub open: Vec<OrderId>,
    /// When it was made, in milliseconds since 1970.
    pub created: u64,
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

/// What is known of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// As it was recorded.
    pub session: NewSession,
    /// How far it is.
    pub status: SessionStatus,
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

/// What account service and coordinator must not forget.
#[async_trait]
pub trait ControlStore: Send + Sync {
    /// Records a new account, with its open orders.
    ///
    /// # Errors
    /// See [`StoreError`]; the same holds for all methods.
    async fn create_account(&self, account: &Account) -> Result<(), StoreError>;

    /// An account.
    #[allow(clippy::missing_errors_doc)]
    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError>;

    /// Notes that a refresh of an account is about to begin.
    #[allow(clippy::missing_errors_doc)]
    async fn open_order(&self, id: AccountId, order: OrderId) -> Result<(), StoreError>;

    /// Notes that nothing can come of a keygen or refresh any more, and that it holds nothing.
    #[allow(clippy::missing_errors_doc)]
    async fn close_order(&self, id: AccountId, order: OrderId) -> Result<(), StoreError>;

    /// Makes a certified share set the current one, by a certificate that the caller has verified. One of an earlier or
    /// the same epoch changes nothing. With a new one no order of the account is open any more.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is no such account.
    async fn activate_account(&self, certificate: &Certificate, key: &KeyOutputs) -> Result<(), StoreError>;

    /// Notes that no key has come of an account's keygen. An active account stays active.
    #[allow(clippy::missing_errors_doc)]
    async fn fail_account(&self, id: AccountId) -> Result<(), StoreError>;

    /// Records a session before its plans go out.
    #[allow(clippy::missing_errors_doc)]
    async fn record_session(&self, session: &NewSession) -> Result<(), StoreError>;

    /// Keeps what a party reported of a session; what it reported before is replaced. With `completed`, the session ends
    /// with it, at that time in milliseconds since 1970.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is no such session.
    async fn add_report(
        &self,
        id: SessionId,
        by: PartyIndex,
        report: &[u8],
        completed: Option<u64>,
    ) -> Result<(), StoreError>;

    /// Ends a session. One that has completed stays so; one that has failed can still complete.
    #[allow(clippy::missing_errors_doc)]
    async fn end_session(&self, id: SessionId, status: &SessionStatus) -> Result<(), StoreError>;

    /// A session.
    #[allow(clippy::missing_errors_doc)]
    async fn session(&self, id: SessionId) -> Result<Option<SessionRecord>, StoreError>;

    /// The latest session of an order; one that has completed before all others.
    #[allow(clippy::missing_errors_doc)]
    async fn session_of(&self, order: OrderId) -> Result<Option<SessionRecord>, StoreError>;

    /// Ends as failed, with the code `deadline_passed`, every running session whose deadline passed before `now` (in
    /// milliseconds since 1970). Says how many there were.
    #[allow(clippy::missing_errors_doc)]
    async fn end_overdue(&self, now: u64) -> Result<u64, StoreError>;

    /// Ends as failed, with the code `unavailable`, all sessions that are running: for the start of the only process that
    /// there is, whose parties have said what they know.
    #[allow(clippy::missing_errors_doc)]
    async fn end_interrupted(&self, now: u64) -> Result<u64, StoreError>;

    /// Begins the run of a request, or says what became of it; `now` is in milliseconds since 1970.
    #[allow(clippy::missing_errors_doc)]
    async fn begin_run(&self, run: &Run, now: u64) -> Result<Running, StoreError>;

    /// The run turns to something else: what it was about before came to nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the run is not ours (any more); the same holds for the next two methods.
    async fn turn_run(&self, run: &Run) -> Result<(), StoreError>;

    /// The run is over: this is its answer, for everybody who asks.
    #[allow(clippy::missing_errors_doc)]
    async fn finish_run(&self, run: &Run, status: u16, answer: &str) -> Result<(), StoreError>;

    /// The run has no answer that should be kept: whoever asks next runs it.
    #[allow(clippy::missing_errors_doc)]
    async fn give_up_run(&self, run: &Run) -> Result<(), StoreError>;

    /// Gives up all runs without an answer: for the start of the only process that there is.
    #[allow(clippy::missing_errors_doc)]
    async fn give_up_all_runs(&self) -> Result<(), StoreError>;

    /// Forgets what is old ([`KEY_KEPT`], [`SESSION_KEPT`]); `now` is in milliseconds since 1970.
    #[allow(clippy::missing_errors_doc)]
    async fn forget_old(&self, now: u64) -> Result<(), StoreError>;
}
