//! The pool: presignatures and prepared nonces, each for one use (rule 6).
//!
//! An entry is sealed under a random key of its own, which lives only in the memory of the process that made it and is given up
//! before the entry's row is deleted. So nothing opens twice, whatever happens to the database: neither a backup nor a failover brings
//! a key back. The process that made an entry is the only one that can use it; what earlier processes of its replica have left behind
//! is deleted when it starts.

use std::collections::HashSet;

use quorate_backends::database::{Statement, StoreError, Tx, signed, sql};
use quorate_core::codec::encode;
use quorate_core::{AccountId, Digest, PartyIndex, PlanHash, PoolId, PreparedId, UnixMillis};
use zeroize::Zeroizing;

use super::PartyStore;
use super::bans::bits_of;
use super::crypter::{DataKey, RowContext};
use super::session_rows::finish_session;

/// Entries of one account and quorum. When more are made, the oldest go.
pub const MAX_POOLED_PER_QUORUM: usize = 256;

/// Entries of one process.
const MAX_POOLED: usize = 65_536;

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
    /// [`StoreError::Conflict`] when the session does not run any more, another share set is active, or the pool is full. Nothing
    /// of it is kept then.
    pub async fn stock(&self, material: NewMaterial<'_>) -> Result<(), StoreError> {
        let NewMaterial { plan, purpose, digest, replica, now, entries } = material;
        if self.pool.keys.lock().len() + entries.len() > MAX_POOLED {
            self.forget_lost_keys().await?;
        }
        if self.pool.keys.lock().len() + entries.len() > MAX_POOLED {
            return Err(StoreError::Conflict("the pool is full"));
        }
        let mut keys = Vec::with_capacity(entries.len());
        let mut tx = self.database.begin(purpose.account.as_bytes()).await?;
        let known = self.account_state(&mut tx, purpose.account).await?;
        if known.active()? != Some(purpose.share_set) {
            return Err(StoreError::Conflict("another share set is active"));
        }
        finish_session(&mut tx, plan).await?;
        for (id, value) in entries {
            let key = DataKey::random()?;
            let name = purpose.name(id);
            let sealed = self.crypter.seal_under(&key, &purpose.context(&name), &value)?;
            sql("INSERT INTO pool (id, pool, replica, account, share_set, signers, share_format, digest, made_at, sealed)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
            .bind(id.as_bytes())
            .bind(self.pool.id.as_bytes())
            .bind(replica)
            .bind(purpose.account.as_bytes())
            .bind(purpose.share_set.as_bytes())
            .bind(bits_of(&purpose.signers))
            .bind(purpose.share_format)
            .bind(digest.as_bytes())
            .bind(signed(now.0)?)
            .bind(sealed)
            .execute(&mut tx)
            .await?;
            keys.push((id, key));
        }
        let outdated = self.delete_oldest(&mut tx, purpose).await?;
        tx.commit().await?;
        let mut kept = self.pool.keys.lock();
        kept.extend(keys);
        for id in outdated {
            kept.remove(&id);
        }
        Ok(())
    }

    /// The entries that this process could use for a purpose.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn pooled(&self, purpose: &PoolPurpose) -> Result<Vec<PreparedId>, StoreError> {
        let statement = sql("SELECT id FROM pool
             WHERE pool = $1 AND account = $2 AND share_set = $3 AND signers = $4 AND share_format = $5
             ORDER BY made_at, id");
        let rows = purpose.bind(statement.bind(self.pool.id.as_bytes())).fetch_all(&self.database).await?;
        let mut ids: Vec<PreparedId> =
            rows.iter().map(|row| row.read("id", "pool")).collect::<Result<_, _>>()?;
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
             RETURNING sealed");
        let statement = purpose.bind(statement.bind(self.pool.id.as_bytes())).bind(id.as_bytes());
        let Some(row) = statement.fetch_optional(&mut tx).await? else { return Ok(None) };
        self.raise_counter(&mut tx).await?;
        tx.commit().await?;
        let name = purpose.name(id);
        let sealed: Vec<u8> = row.get("sealed")?;
        self.crypter.open_under(&key, &purpose.context(&name), &sealed).map(Some)
    }

    /// Deletes what earlier processes of a replica have left in their pools: nobody can open it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn clear_pools(&self, replica: &str) -> Result<u64, StoreError> {
        sql("DELETE FROM pool WHERE replica = $1 AND pool <> $2")
            .bind(replica)
            .bind(self.pool.id.as_bytes())
            .execute(&self.database)
            .await
    }

    /// Deletes a quorum's oldest entries beyond the bound, and says which they were.
    async fn delete_oldest(&self, tx: &mut Tx, purpose: &PoolPurpose) -> Result<Vec<PreparedId>, StoreError> {
        let statement = sql("DELETE FROM pool WHERE id IN (
               SELECT id FROM pool
               WHERE pool = $1 AND account = $2 AND share_set = $3 AND signers = $4 AND share_format = $5
               ORDER BY made_at DESC, id LIMIT 1000000 OFFSET $6)
             RETURNING id");
        let kept = i64::try_from(MAX_POOLED_PER_QUORUM).unwrap_or(i64::MAX);
        let statement = purpose.bind(statement.bind(self.pool.id.as_bytes())).bind(kept);
        statement.fetch_all(tx).await?.iter().map(|row| row.read("id", "pool")).collect()
    }

    /// Gives up the keys of entries whose rows are gone: with their share set, or with their component.
    async fn forget_lost_keys(&self) -> Result<(), StoreError> {
        let rows = sql("SELECT id FROM pool WHERE pool = $1")
            .bind(self.pool.id.as_bytes())
            .fetch_all(&self.database)
            .await?;
        let there: HashSet<PreparedId> =
            rows.iter().map(|row| row.read("id", "pool")).collect::<Result<_, _>>()?;
        self.pool.keys.lock().retain(|id, _| there.contains(id));
        Ok(())
    }
}

/// Deletes what was made with the other share sets of an account: of all replicas.
pub(super) async fn clear_other_share_sets(
    tx: &mut Tx,
    account: AccountId,
    active: PlanHash,
) -> Result<(), StoreError> {
    sql("DELETE FROM pool WHERE account = $1 AND share_set <> $2")
        .bind(account.as_bytes())
        .bind(active.as_bytes())
        .execute(tx)
        .await
        .map(drop)
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
