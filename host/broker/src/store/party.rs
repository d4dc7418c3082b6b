//! What one party must not forget.

use std::collections::BTreeMap;

use async_trait::async_trait;
use quorate_core::admission::Share;
use quorate_core::certificate::{Certificate, KeyOutputs, Ready};
use quorate_core::identity::PublicKey;
use quorate_core::{AccountId, Digest, OrderId, PartyIndex, PlanHash, SessionId};
use zeroize::Zeroizing;

use super::StoreError;

/// Vault entries of a share, by name.
pub type Entries = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// What a party knows that bears on a plan.
#[derive(Debug)]
pub struct Knowledge {
    /// Sessions started for the order.
    pub sessions_of_order: u32,
    /// Whether the order was seen to succeed.
    pub order_succeeded: bool,
    /// Counterparties banned for the account.
    pub banned: Vec<PublicKey>,
    /// What is sealed with the active share.
    pub share: Option<Share>,
    /// Whether a share of the account was promised and is not active.
    pub promised: bool,
    /// The latest time ever seen, in seconds since 1970.
    pub latest_seen: u64,
    /// The party's own state counter.
    pub counter: u64,
}

/// A session to claim.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The session.
    pub session: SessionId,
    /// Its plan.
    pub plan: PlanHash,
    /// Its order.
    pub order: OrderId,
    /// When the order expires, in seconds since 1970.
    pub expires_at: u64,
    /// The account.
    pub account: AccountId,
    /// Whether it makes shares, and so must be the only one of its account that does.
    pub exclusive: bool,
    /// The epoch of the share that it uses; `None` for a keygen. It must still be the active one.
    pub epoch: Option<u32>,
    /// This party's index in it.
    pub me: PartyIndex,
    /// The component that it runs on.
    pub digest: Digest,
    /// The identity keys of all its signers: none of them may be banned by now.
    pub signers: Vec<PublicKey>,
    /// The time, in seconds since 1970.
    pub now: u64,
    /// How many sessions an order may have.
    pub at_most: u32,
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is ours: run it.
    Yes,
    /// It was claimed before, here or by another replica: do not run it.
    Before,
    /// The order has had its sessions, or has succeeded.
    OrderIsOver,
    /// Another keygen or refresh of this account runs or is promised.
    Locked,
    /// What the plan was admitted on has changed since: another epoch is active, or a signer was banned.
    Stale,
}

/// A session that was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its plan.
    pub plan: PlanHash,
    /// The session.
    pub session: SessionId,
    /// Its order.
    pub order: OrderId,
    /// This party's index in it.
    pub me: PartyIndex,
    /// The component that it ran on.
    pub digest: Digest,
}

/// A keygen or refresh of which nobody has been told yet what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreported {
    /// The session.
    pub started: Started,
    /// What came of it.
    pub result: Made,
}

/// What came of a keygen or refresh at this party.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
pub enum Made {
    /// Nothing, and nothing ever will.
    Nothing,
    /// A share that waits for its certificate.
    Promise(Ready, KeyOutputs),
    /// The active share.
    Share(Certificate, KeyOutputs),
}

/// How long a state counter of a peer takes until a lower one is no longer accepted, in seconds: longer than a hello is
/// on its way.
pub const COUNTER_SETTLES: u64 = 60;

/// What one party must not forget.
#[async_trait]
pub trait PartyStore: Send + Sync {
    /// Reads what bears on a plan.
    ///
    /// # Errors
    /// See [`StoreError`]; the same holds for all methods.
    async fn knowledge(&self, order: OrderId, account: AccountId) -> Result<Knowledge, StoreError>;

    /// Claims a session: counts it for its order, locks the account if it is exclusive, and notes the time.
    #[allow(clippy::missing_errors_doc)]
    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError>;

    /// The entries of the active share, if it is of this epoch.
    #[allow(clippy::missing_errors_doc)]
    async fn active_entries(&self, account: AccountId, epoch: u32) -> Result<Option<Entries>, StoreError>;

    /// Records that a session has ended without a promise and will never have one. Frees the account.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it was promised.
    async fn abort(&self, plan: PlanHash) -> Result<(), StoreError>;

    /// Records that a session has ended well and that its order has succeeded. A second time it changes nothing.
    #[allow(clippy::missing_errors_doc)]
    async fn finish(&self, plan: PlanHash) -> Result<(), StoreError>;

    /// Stores a pending share together with its promise and with what is to be known of it. Only then may the promise be
    /// sent.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the session was aborted, never claimed, or claimed for something else, or when the
    /// account has a share of this epoch or a later one: a promise must be one that can be kept.
    async fn promise(&self, ready: &Ready, share: &Share, entries: &Entries) -> Result<(), StoreError>;

    /// What was stored with a promise that is not active yet.
    #[allow(clippy::missing_errors_doc)]
    async fn promised(&self, plan: PlanHash) -> Result<Option<Share>, StoreError>;

    /// Frees the account of a promised share that nobody can complete. The share stays, for a certificate that may
    /// still turn up.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it was not promised.
    async fn release(&self, plan: PlanHash) -> Result<(), StoreError>;

    /// Makes a promised share the active one, by a certificate that the caller has verified; the one before is retired,
    /// and so is every other promise that can't become active any more. Raises the state counter. A second time it changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when this was not promised, or the account has a share of this epoch or a later one.
    async fn activate(&self, certificate: &Certificate) -> Result<(), StoreError>;

    /// Erases the retired shares of an account from before `epoch`, which all n parties have acknowledged. Says how many
    /// there were.
    #[allow(clippy::missing_errors_doc)]
    async fn erase_retired(&self, account: AccountId, epoch: u32) -> Result<u64, StoreError>;

    /// Bars a counterparty from an account for ever, and raises the state counter.
    #[allow(clippy::missing_errors_doc)]
    async fn ban(&self, account: AccountId, counterparty: PublicKey) -> Result<(), StoreError>;

    /// Remembers that no new session may run on a component (rule 7).
    #[allow(clippy::missing_errors_doc)]
    async fn suspend(&self, digest: Digest) -> Result<(), StoreError>;

    /// The components that no new session may run on.
    #[allow(clippy::missing_errors_doc)]
    async fn suspended(&self) -> Result<Vec<Digest>, StoreError>;

    /// Holds a peer's state counter against the highest that was seen more than [`COUNTER_SETTLES`] ago: false if it is
    /// lower, which means that the peer was set back to an earlier state. Hellos of sessions that run at the same time
    /// may come in another order than they were sent; `now` is in seconds since 1970.
    #[allow(clippy::missing_errors_doc)]
    async fn peer_counter(&self, peer: PublicKey, counter: u64, now: u64) -> Result<bool, StoreError>;

    /// Sessions that were claimed and have no outcome: after a restart they are to be aborted, for this party never
    /// promised anything for them.
    #[allow(clippy::missing_errors_doc)]
    async fn running(&self) -> Result<Vec<Started>, StoreError>;

    /// Keygens and refreshes of which nobody has been told yet what came of them.
    #[allow(clippy::missing_errors_doc)]
    async fn unreported(&self) -> Result<Vec<Unreported>, StoreError>;

    /// Notes that somebody has been told what came of a session so far.
    #[allow(clippy::missing_errors_doc)]
    async fn reported(&self, plan: PlanHash) -> Result<(), StoreError>;

    /// What came of the session that made an account's active share is to be reported again: somebody does not know of it.
    #[allow(clippy::missing_errors_doc)]
    async fn report_again(&self, account: AccountId) -> Result<(), StoreError>;

    /// Forgets orders and their sessions a day after they have expired, by the latest time that was stored with a claim:
    /// a clock that jumps ahead and back makes no order new again. Promises are never forgotten, and neither are sessions
    /// of which somebody has still to be told.
    #[allow(clippy::missing_errors_doc)]
    async fn forget_expired(&self) -> Result<(), StoreError>;
}

/// How long an order's id is kept after it has expired, in seconds.
pub(super) const KEPT_AFTER_EXPIRY: u32 = 86_400;
