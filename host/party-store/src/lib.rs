//! The durable state of one party, in a database of its own.
//!
//! All replicas of a party share its database. What has to happen at most once is decided here, so that it holds for
//! all of them: a session is claimed by one, a share is promised only by the replica that still runs its session.
//!
//! Architecture invariant: this is the only crate in which a key share rests. Secrets are sealed by [`crypter`]
//! before they reach the database. A method that changes something is one whole transaction with a name from the
//! domain.

// Only for the features that they turn on: see the workspace manifest.
use aes as _;
use polyval as _;

pub mod crypter;

mod account_state;
mod ban_reports;
mod bans;
mod daily_signatures;
mod lifts;
mod party_state;
mod peers;
mod pool;
mod pool_keys;
mod refusals;
mod repair_permits;
mod sealing_keys;
mod session_rows;
mod sessions;
mod share_sets;
mod shares;
mod user_requests;
mod users;
mod vault;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crypter::{DataKey, RowContext};
use pool_keys::PoolKeys;
use quorate_backends::database::{Database, Row, Schema, StoreError, decoded, sql};
use quorate_core::certificate::{Certificate, KeyOutputs, Ready};
use quorate_core::identity::{PublicKey, Signature};
use quorate_core::order::RepairedParty;
use quorate_core::{
    AccountId, DatabaseId, Digest, KeyRecord, OrderId, PartyIndex, PlanHash, SessionId, UnixMillis,
    UnixSeconds,
};
use tokio::time::Instant;

pub use ban_reports::{KeptBans, OwnBan};
pub use bans::{BannedParty, DecidedIn};
pub use crypter::{Crypter, MasterKey, MasterKeyError};
pub use peers::PeerStanding;
pub use pool::{MAX_POOLED_PER_QUORUM, NewMaterial, PoolPurpose};
pub use refusals::{Refusal, RefusalOutcome};
pub use shares::{PromisedShare, ShareState};
pub use users::{
    Confirmation, DeliveryState, NewDelivery, PromiseState, SealedDelivery, ShareDelivery, ShareLookup,
    WaitingPlan,
};
pub use vault::{KeptMaterial, MaterialOwner};

/// The tables of one party.
pub const SCHEMA: Schema = Schema {
    sqlite: &[("party", include_str!("../../../migrations/party/sqlite/0001_party.sql"))],
    postgres: &[("party", include_str!("../../../migrations/party/postgres/0001_party.sql"))],
};

/// The facts that admission of a plan depends on.
#[derive(Debug)]
pub struct AdmissionFacts {
    /// Whether the plan was claimed before, here or by another replica.
    pub claimed: bool,
    /// Sessions started for the order.
    pub sessions_of_order: u32,
    /// Whether the order was seen to succeed.
    pub order_succeeded: bool,
    /// Counterparties banned on the share set.
    pub banned: Vec<PartyIndex>,
    /// Those among them with which the operator permits one refresh.
    pub lifted: Vec<PartyIndex>,
    /// Whether the party keeps bans on the share set, its own or those of others.
    pub keeps_bans: bool,
    /// The record that is sealed with the active share.
    pub record: Option<KeyRecord>,
    /// The share set of the active share.
    pub share_set: Option<PlanHash>,
    /// Whether a share of the account was promised and is not active.
    pub promised: bool,
    /// Whether there are retired shares of the account, which wait to be erased.
    pub has_retired: bool,
    /// The latest time ever seen.
    pub latest_seen: UnixSeconds,
    /// The earliest time of orders that are taken.
    pub orders_from: UnixSeconds,
    /// The party's own state counter.
    pub counter: u64,
    /// The random number that tells the party's database from every other. A copy of the database has the same.
    pub database: DatabaseId,
    /// When this was read.
    pub read_at: Instant,
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
    /// When the order was issued.
    pub issued_at: UnixSeconds,
    /// When the order expires.
    pub expires_at: UnixSeconds,
    /// The account.
    pub account: AccountId,
    /// Whether it makes shares, and so must be the only one of its account that does.
    pub exclusive: bool,
    /// The share set of the share that it uses; `None` for a keygen. It must still be the active one.
    pub share_set: Option<PlanHash>,
    /// The share set of which this party's share is lost, in its repair.
    pub lost: Option<PlanHash>,
    /// This party's index in it.
    pub me: PartyIndex,
    /// The component that it runs on.
    pub digest: Digest,
    /// All its signers: none of them may be banned by now.
    pub signers: Vec<PartyIndex>,
    /// How many signing sessions of the account may be open with one counterparty at a time; `None` under a protocol that
    /// bans nobody.
    pub open_signings: Option<u16>,
    /// How many signatures the order asks for.
    pub signatures: u32,
    /// How many there may be with the account in a day (UTC), over all replicas; `None`: as many as are asked for.
    pub signatures_per_day: Option<NonZeroU32>,
    /// The name of the replica that claims it.
    pub replica: String,
    /// When the session ends.
    pub deadline: UnixMillis,
    /// The time.
    pub now: UnixSeconds,
    /// How many sessions an order may have.
    pub at_most: u32,
    /// The other parties whose lost shares the session repairs: the operator must have permitted each.
    pub repaired: Vec<RepairedParty>,
}

impl Claim {
    /// Whether it gives an account new shares of the key that it has.
    pub(crate) fn is_refresh(&self) -> bool {
        self.exclusive && self.named().is_some()
    }

    /// The share set that it is about: bans on it count.
    pub(crate) fn named(&self) -> Option<PlanHash> {
        self.lost.or(self.share_set)
    }
}

/// The result of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// It is ours: run it.
    Claimed {
        /// Whether the account's shares should be refreshed: a counterparty may have learned too much about them.
        refresh_wanted: bool,
    },
    /// It was claimed before, here or by another replica: do not run it.
    AlreadyClaimed,
    /// The order has had its sessions, or has succeeded.
    OrderIsOver,
    /// Another keygen or refresh of this account runs or is promised.
    Locked,
    /// The component was suspended, perhaps by another replica.
    Suspended,
    /// The facts of the plan's admission have changed since: another share set is active, a signer was banned, or a permit is used.
    Stale,
    /// This party was set back to an earlier state, and its operator has not accepted that.
    SetBack,
    /// As many signing sessions are open with this counterparty as may be.
    Full(PartyIndex),
    /// The account has had the signatures that it may have in a day.
    DailyMaximum,
    /// Too many signing sessions with this counterparty have an unknown outcome: the shares are refreshed first.
    RefreshRequired(PartyIndex),
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

/// A keygen or refresh whose outcome has not been reported yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreported {
    /// The session.
    pub started: Started,
    /// The result of the session.
    pub result: SessionResult,
}

/// The result of a keygen or refresh at this party.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
pub enum SessionResult {
    /// The session made nothing and never will.
    Nothing,
    /// A share that waits for its certificate.
    Promise(Ready, KeyOutputs),
    /// The active share.
    Share(Certificate, KeyOutputs),
}

/// How long a state counter of a peer takes until a lower one is no longer accepted: longer than a hello is
/// on its way.
pub const COUNTER_SETTLING_PERIOD: Duration = Duration::from_secs(60);

/// How long after a stored time was set back an order must be issued: nothing that was seen before may count as new. An
/// order lives for at most ten minutes, and clocks differ by at most one.
pub(crate) const SET_BACK_PERIOD: Duration = Duration::from_secs(660);

/// How long an order's id is kept after it has expired, in seconds.
pub(crate) const ORDER_RETENTION_SECONDS: u32 = 86_400;

/// How long after its deadline a session without an outcome counts as abandoned: the replica that runs it has
/// ended it within a few seconds.
pub(crate) const ABANDONMENT_AGE: Duration = Duration::from_millis(30_000);

/// The text that is sealed in `key_check`.
const KNOWN_TEXT: &[u8] = b"quorate key check";

/// The durable state of one party. Clones share the database.
#[derive(Clone, Debug)]
pub struct PartyStore {
    database: Database,
    crypter: Arc<Crypter>,
    pool: Arc<PoolKeys>,
}

impl PartyStore {
    /// Brings the schema of a database up to date and checks that the master key is the one that sealed it. With
    /// another key nothing is changed.
    ///
    /// # Errors
    /// See [`StoreError`]; the same holds for all methods.
    pub async fn open(database: Database, crypter: Crypter) -> Result<Self, StoreError> {
        let store = Self { database, crypter: Arc::new(crypter), pool: Arc::new(PoolKeys::new()?) };
        store.check_key().await?;
        store.database.migrate(&SCHEMA).await?;
        store.note_key().await?;
        // Of two processes that start on a new database at once, one has set the key.
        store.check_key().await?;
        store.state().await?;
        Ok(store)
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// A name of the master key that the rows are sealed with: see [`Crypter::proved_name`].
    #[must_use]
    pub fn key_name(&self) -> (PublicKey, Signature) {
        self.crypter.proved_name()
    }

    fn key_context(&self) -> RowContext<'_> {
        let (account, plan) = (AccountId([0; 16]), PlanHash([0; 32]));
        RowContext { table: "key_check", account, epoch: 0, plan, name: "known text" }
    }

    /// Before anything is changed: a database that has been sealed must have been sealed with this key.
    async fn check_key(&self) -> Result<(), StoreError> {
        if !self.database.has_table("key_check").await? {
            return Ok(());
        }
        let Some(row) = sql("SELECT key_id, sealed FROM key_check").fetch_optional(&self.database).await?
        else {
            return Ok(());
        };
        let sealed: Vec<u8> = row.get("sealed")?;
        // Sealed data is bound to the party too.
        let other = match row.get::<String>("key_id")? == self.crypter.key_id() {
            true => StoreError::WrongIdentity,
            false => StoreError::WrongMasterKey,
        };
        match self.crypter.open(&self.key_context(), &sealed) {
            Ok(opened) if opened.as_slice() == KNOWN_TEXT => Ok(()),
            _ => Err(other),
        }
    }

    /// Writes the rows of a database that has just been made.
    async fn note_key(&self) -> Result<(), StoreError> {
        let sealed = self.crypter.seal(&self.key_context(), KNOWN_TEXT)?;
        let mut tx = self.database.begin(b"").await?;
        let is_new =
            sql("INSERT INTO key_check (id, key_id, sealed) VALUES (1, $1, $2) ON CONFLICT DO NOTHING")
                .bind(self.crypter.key_id())
                .bind(sealed)
                .execute(&mut tx)
                .await?;
        if is_new == 1 {
            self.insert_state(&mut tx).await?;
        }
        tx.commit().await
    }

    fn open_facts(&self, account: AccountId, row: &Row) -> Result<SealedFacts, StoreError> {
        let plan: PlanHash = row.read("plan", "shares")?;
        let epoch: u32 = row.get("epoch")?;
        let sealed_key = row.get::<Vec<u8>>("data_key")?;
        let key = self.crypter.open_data_key(&data_key_context(account, epoch, plan), &sealed_key)?;
        let context = facts_context(account, epoch, plan);
        let facts = self.crypter.open_under(&key, &context, &row.get::<Vec<u8>>("facts")?)?;
        let (record, names): (KeyRecord, Vec<String>) = decoded(&facts, "shares")?;
        Ok(SealedFacts { plan, key, record, names })
    }
}

/// The facts that are sealed with a share.
struct SealedFacts {
    plan: PlanHash,
    /// The key of the share set.
    key: DataKey,
    record: KeyRecord,
    /// The names of its entries: one that is missing is noticed.
    names: Vec<String>,
}

fn data_key_context(account: AccountId, epoch: u32, plan: PlanHash) -> RowContext<'static> {
    RowContext { table: "shares", account, epoch, plan, name: "data key" }
}

fn facts_context(account: AccountId, epoch: u32, plan: PlanHash) -> RowContext<'static> {
    RowContext { table: "shares", account, epoch, plan, name: "facts" }
}

fn entry_context(account: AccountId, epoch: u32, plan: PlanHash, name: &str) -> RowContext<'_> {
    RowContext { table: "entries", account, epoch, plan, name }
}
