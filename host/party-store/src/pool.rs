//! The pool: presignatures and prepared nonces, each for one use (rule 6).
//!
//! An entry is sealed under a random key of its own, which lives only in the memory of the process that made it and is given up
//! before the entry's row is deleted. So nothing opens twice, whatever happens to the database: neither a backup nor a failover brings
//! a key back. The process that made an entry is the only one that can use it; what earlier processes of its replica have left behind
//! is deleted when it starts.

#[cfg(test)]
pub(crate) mod conformance;

use std::collections::HashSet;
use std::time::Duration;

use quorate_backends::database::{Row, Statement, StoreError, Tx, signed, sql};
use quorate_core::codec::encode;
use quorate_core::presignatures::MAX_PRESIGNATURES;
use quorate_core::{AccountId, Digest, PartyIndex, PlanHash, PoolId, PreparedId, UnixMillis};
use zeroize::Zeroizing;

use super::PartyStore;
use super::bans::bits_of;
use super::crypter::{DataKey, RowContext};
use super::session_rows::{FinishedOrder, finish_session};

/// Entries of one account and quorum. When more are made, the oldest go.
pub const MAX_POOLED_PER_QUORUM: usize = MAX_PRESIGNATURES as usize;

/// Entries of one process. When more are made, the oldest go.
const MAX_POOLED: usize = 65_536;

/// The longest value of an entry, in bytes.
const MAX_POOLED_BYTES: usize = 64 << 10;

/// How long a process of another name may leave its entries in the database.
const POOL_RETENTION: Duration = Duration::from_secs(7 * 86_400);

/// What an entry of the pool belongs to. It is used with all of this or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolPurpose {
    /// The account.
    pub account: AccountId,
    /// The share set of the shares that it was made with.
    pub share_set: PlanHash,
    /// The parties that have made it together, ascending.
    pub signers: Vec<PartyIndex>,
    /// The format of those shares.
    pub share_format: u32,
}

/// Material that a session has made.
pub struct NewMaterial<'a> {
    /// The plan of the session.
    pub plan: PlanHash,
    /// What it belongs to.
    pub purpose: &'a PoolPurpose,
    /// The component that made it.
    pub digest: Digest,
    /// The replica of this process.
    pub replica: &'a str,
    /// The time.
    pub now: UnixMillis,
    /// The entries.
    pub entries: Vec<(PreparedId, Zeroizing<Vec<u8>>)>,
}

impl PartyStore {
    /// The pool of this process.
    #[must_use]
    pub fn pool_id(&self) -> PoolId {
        self.pool.id
    }

    /// Puts what a session has made into the pool of this process, and ends the session well. Of a quorum's entries the newest
    /// [`MAX_POOLED_PER_QUORUM`] stay.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the session does not run any more, another session of its order was faster, another share set is
    /// active, or an entry is too long. Nothing of it is kept then.
    pub async fn stock(&self, material: NewMaterial<'_>) -> Result<(), StoreError> {
        let NewMaterial { plan, purpose, entries, .. } = &material;
        if entries.iter().any(|(_, value)| value.len() > MAX_POOLED_BYTES) {
            return Err(StoreError::Conflict("a presignature that is too long to keep"));
        }
        if self.pool.keys.lock().len() + entries.len() > MAX_POOLED {
            self.forget_lost_keys().await?;
        }
        let mut tx = self.database.begin(purpose.account.as_bytes()).await?;
        let known = self.account_state(&mut tx, purpose.account).await?;
        if known.active()? != Some(purpose.share_set) {
            return Err(StoreError::Conflict("another share set is active"));
        }
        finish_session(&mut tx, *plan, FinishedOrder::OnlyOnce).await?;
        let keys = self.insert_entries(&mut tx, &material).await?;
        let outdated = self.delete_oldest(&mut tx, purpose).await?;
        // They are there before the rows are: whoever deletes the rows finds them.
        let ids: Vec<PreparedId> = keys.iter().map(|(id, _)| *id).collect();
        self.pool.keys.lock().extend(keys);
        let committed = tx.commit().await;
        self.pool.forget(if committed.is_ok() { &outdated } else { &ids });
        committed
    }

    /// Seals entries under a new key each, and inserts them behind those that their quorum has.
    async fn insert_entries(
        &self,
        tx: &mut Tx,
        material: &NewMaterial<'_>,
    ) -> Result<Vec<(PreparedId, DataKey)>, StoreError> {
        let NewMaterial { purpose, digest, replica, now, entries, .. } = material;
        // A clock that was ahead may have made those.
        let newest = sql("SELECT max(made_at) AS newest FROM pool WHERE pool = $1 AND account = $2")
            .bind(self.pool.id.as_bytes())
            .bind(purpose.account.as_bytes())
            .fetch_one(&mut *tx)
            .await?
            .get::<Option<i64>>("newest")?;
        let made_at = signed(now.0)?.max(newest.unwrap_or_default().saturating_add(1));
        let mut keys = Vec::with_capacity(entries.len());
        for (id, value) in entries {
            let key = DataKey::random()?;
            let name = purpose.name(*id);
            let sealed = self.crypter.seal_under(&key, &purpose.context(&name), value)?;
            sql("INSERT INTO pool (id, pool, replica, account, share_set, signers, share_format, digest, made_at, sealed)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
            .bind(id.as_bytes())
            .bind(self.pool.id.as_bytes())
            .bind(*replica)
            .bind(purpose.account.as_bytes())
            .bind(purpose.share_set.as_bytes())
            .bind(bits_of(&purpose.signers))
            .bind(purpose.share_format)
            .bind(digest.as_bytes())
            .bind(made_at)
            .bind(sealed)
            .execute(&mut *tx)
            .await?;
            keys.push((*id, key));
        }
        Ok(keys)
    }

    /// The entries that this process could use for a purpose.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn pooled(&self, purpose: &PoolPurpose) -> Result<Vec<PreparedId>, StoreError> {
        let statement = sql("SELECT id FROM pool
             WHERE pool = $1 AND account = $2 AND share_set = $3 AND signers = $4 AND share_format = $5
             AND digest NOT IN (SELECT digest FROM suspended)
             ORDER BY made_at, id");
        let rows = purpose.bind(statement.bind(self.pool.id.as_bytes())).fetch_all(&self.database).await?;
        let mut ids = ids_of(&rows)?;
        let keys = self.pool.keys.lock();
        ids.retain(|id| keys.contains_key(id));
        Ok(ids)
    }

    /// Takes an entry out of the pool. It is durably gone before anybody has its value, and is never put back. `None` if this
    /// process has no such entry for the purpose, or no longer has it.
    ///
    /// # Errors
    /// See [`StoreError`]. The entry is used up then too.
    pub async fn take_pooled(
        &self,
        purpose: &PoolPurpose,
        id: PreparedId,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        // Whatever becomes of the row: from here on nobody else has the key.
        let Some(key) = self.pool.keys.lock().remove(&id) else { return Ok(None) };
        let mut tx = self.database.begin(purpose.account.as_bytes()).await?;
        let statement = sql("DELETE FROM pool
             WHERE pool = $1 AND account = $2 AND share_set = $3 AND signers = $4 AND share_format = $5 AND id = $6
             AND digest NOT IN (SELECT digest FROM suspended)
             RETURNING sealed");
        let statement = purpose.bind(statement.bind(self.pool.id.as_bytes())).bind(id.as_bytes());
        let Some(row) = statement.fetch_optional(&mut tx).await? else { return Ok(None) };
        self.raise_counter(&mut tx).await?;
        tx.commit().await?;
        let name = purpose.name(id);
        let sealed: Vec<u8> = row.get("sealed")?;
        self.crypter.open_under(&key, &purpose.context(&name), &sealed).map(Some)
    }

    /// Deletes what earlier processes of a replica have left in their pools, and what is old: nobody can open it, or needs it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn clear_pools(&self, replica: &str, now: UnixMillis) -> Result<u64, StoreError> {
        sql("DELETE FROM pool WHERE pool <> $2 AND (replica = $1 OR made_at < $3)")
            .bind(replica)
            .bind(self.pool.id.as_bytes())
            .bind(signed((now - POOL_RETENTION).0)?)
            .execute(&self.database)
            .await
    }

    /// Deletes the entries that a component has made, in the pools of all processes.
    pub(super) async fn delete_of_component(&self, digest: Digest) -> Result<(), StoreError> {
        let deleted = sql("DELETE FROM pool WHERE digest = $1 RETURNING id")
            .bind(digest.as_bytes())
            .fetch_all(&self.database)
            .await?;
        self.pool.forget(&ids_of(&deleted)?);
        Ok(())
    }

    /// Deletes the oldest entries beyond the bounds of a quorum and of this process, and says which they were.
    async fn delete_oldest(&self, tx: &mut Tx, purpose: &PoolPurpose) -> Result<Vec<PreparedId>, StoreError> {
        let of_quorum = sql("DELETE FROM pool WHERE id IN (
               SELECT id FROM pool
               WHERE pool = $1 AND account = $2 AND share_set = $3 AND signers = $4 AND share_format = $5
               ORDER BY made_at DESC, id LIMIT 1000000 OFFSET $6)
             RETURNING id");
        let of_quorum =
            purpose.bind(of_quorum.bind(self.pool.id.as_bytes())).bind(bound(MAX_POOLED_PER_QUORUM));
        let mut deleted = of_quorum.fetch_all(&mut *tx).await?;
        if self.pool.keys.lock().len() >= MAX_POOLED {
            let of_process = sql("DELETE FROM pool WHERE id IN (
                   SELECT id FROM pool WHERE pool = $1 ORDER BY made_at DESC, id LIMIT 1000000 OFFSET $2)
                 RETURNING id");
            let of_process = of_process.bind(self.pool.id.as_bytes()).bind(bound(MAX_POOLED / 2));
            deleted.extend(of_process.fetch_all(tx).await?);
        }
        ids_of(&deleted)
    }

    /// Gives up the keys of entries whose rows are gone.
    async fn forget_lost_keys(&self) -> Result<(), StoreError> {
        // Keys that are made from here on have rows that the statement may not see.
        let before: Vec<PreparedId> = self.pool.keys.lock().keys().copied().collect();
        let rows = sql("SELECT id FROM pool WHERE pool = $1")
            .bind(self.pool.id.as_bytes())
            .fetch_all(&self.database)
            .await?;
        let there: HashSet<PreparedId> = ids_of(&rows)?.into_iter().collect();
        let lost: Vec<PreparedId> = before.into_iter().filter(|id| !there.contains(id)).collect();
        self.pool.forget(&lost);
        Ok(())
    }
}

fn bound(entries: usize) -> i64 {
    i64::try_from(entries).unwrap_or(i64::MAX)
}

fn ids_of(rows: &[Row]) -> Result<Vec<PreparedId>, StoreError> {
    rows.iter().map(|row| row.read("id", "pool")).collect()
}

/// Deletes the entries of an account that were made with other share sets than the active one, in the pools of all processes, and says
/// which they were.
pub(super) async fn delete_other_share_sets(
    tx: &mut Tx,
    account: AccountId,
    active: PlanHash,
) -> Result<Vec<PreparedId>, StoreError> {
    let deleted = sql("DELETE FROM pool WHERE account = $1 AND share_set <> $2 RETURNING id")
        .bind(account.as_bytes())
        .bind(active.as_bytes())
        .fetch_all(tx)
        .await?;
    ids_of(&deleted)
}

impl PoolPurpose {
    /// Binds the columns from `account` to `share_format`.
    fn bind(&self, statement: Statement) -> Statement {
        statement
            .bind(self.account.as_bytes())
            .bind(self.share_set.as_bytes())
            .bind(bits_of(&self.signers))
            .bind(self.share_format)
    }

    fn name(&self, id: PreparedId) -> String {
        let told = encode(&(self.signers.clone(), id));
        told.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn context<'a>(&self, name: &'a str) -> RowContext<'a> {
        RowContext {
            table: "pool",
            account: self.account,
            epoch: self.share_format,
            plan: self.share_set,
            name,
        }
    }
}
