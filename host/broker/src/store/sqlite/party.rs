//! The party store on SQLite: one file, write-ahead log, synced at every commit.

use std::path::Path;

use async_trait::async_trait;
use quorate_core::admission::Share;
use quorate_core::certificate::{Certificate, Ready};
use quorate_core::codec::encode;
use quorate_core::identity::PublicKey;
use quorate_core::{AccountId, Digest, OrderId, PartyIndex, PlanHash};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use super::{Tx, begin, decoded, open_pool, signed, unsigned};
use crate::store::StoreError;
use crate::store::crypter::{Crypter, Place};
use crate::store::party::{
    COUNTER_SETTLES, Claim, Claimed, Entries, KEPT_AFTER_EXPIRY, Knowledge, Made, PartyStore, Started,
    Unreported,
};

/// What is sealed in `key_check`.
const KNOWN_TEXT: &[u8] = b"quorate key check";

/// One party's database.
#[derive(Debug)]
pub struct SqlitePartyStore {
    pool: SqlitePool,
    crypter: Crypter,
}

impl SqlitePartyStore {
    /// Opens the file, or makes it, brings its schema up to date and checks that the master key is the one that sealed
    /// it. With another key nothing is changed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn open(file: &Path, crypter: Crypter) -> Result<Self, StoreError> {
        let store = Self { pool: open_pool(file).await?, crypter };
        store.check_key().await?;
        sqlx::migrate!("../../migrations/party/sqlite").run(&store.pool).await.map_err(StoreError::Schema)?;
        store.note_key().await?;
        // Of two processes that start on a new database at once, one has set the key.
        store.check_key().await?;
        Ok(store)
    }

    async fn begin(&self) -> Result<Tx<'static>, StoreError> {
        begin(&self.pool).await
    }

    fn key_place(&self) -> Place<'_> {
        let (account, plan) = (AccountId([0; 16]), PlanHash([0; 32]));
        Place { table: "key_check", account, epoch: 0, plan, name: "known text" }
    }

    /// Before anything is changed: a database that has been sealed must have been sealed with this key.
    async fn check_key(&self) -> Result<(), StoreError> {
        let exists = sqlx::query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'key_check'");
        if exists.fetch_optional(&self.pool).await?.is_none() {
            return Ok(());
        }
        let Some(row) = sqlx::query("SELECT sealed FROM key_check").fetch_optional(&self.pool).await? else {
            return Ok(());
        };
        let sealed: Vec<u8> = row.try_get(0)?;
        let opened = self.crypter.open(&self.key_place(), &sealed).map_err(|_| StoreError::WrongMasterKey)?;
        if opened.as_slice() == KNOWN_TEXT { Ok(()) } else { Err(StoreError::WrongMasterKey) }
    }

    async fn note_key(&self) -> Result<(), StoreError> {
        let sealed = self.crypter.seal(&self.key_place(), KNOWN_TEXT)?;
        sqlx::query("INSERT INTO key_check (id, key_id, sealed) VALUES (1, ?, ?) ON CONFLICT DO NOTHING")
            .bind(self.crypter.key_id())
            .bind(sealed)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    fn open_facts(&self, account: AccountId, row: &SqliteRow) -> Result<Facts, StoreError> {
        let plan: PlanHash = decoded(row.try_get("plan")?, "shares")?;
        let epoch: u32 = row.try_get("epoch")?;
        let facts = self.crypter.open(&facts_place(account, epoch, plan), row.try_get("facts")?)?;
        let (share, names): (Share, Vec<String>) = decoded(&facts, "shares")?;
        Ok(Facts { plan, share, names })
    }
}

fn started(row: &SqliteRow) -> Result<Started, StoreError> {
    let me: u16 = row.try_get("me")?;
    Ok(Started {
        plan: decoded(row.try_get("plan")?, "sessions")?,
        session: decoded(row.try_get("id")?, "sessions")?,
        order: decoded(row.try_get("order_id")?, "sessions")?,
        me: PartyIndex::try_from(me).map_err(|_| StoreError::Malformed("sessions"))?,
        digest: decoded(row.try_get("digest")?, "sessions")?,
    })
}

/// What is sealed with a share.
struct Facts {
    plan: PlanHash,
    share: Share,
    /// The names of its entries: one that is missing is noticed.
    names: Vec<String>,
}

fn facts_place(account: AccountId, epoch: u32, plan: PlanHash) -> Place<'static> {
    Place { table: "shares", account, epoch, plan, name: "facts" }
}

fn entry_place(account: AccountId, epoch: u32, plan: PlanHash, name: &str) -> Place<'_> {
    Place { table: "entries", account, epoch, plan, name }
}

const ACTIVE_FACTS: &str = "SELECT plan, epoch, facts FROM shares WHERE account = ? AND state = 'active'";

async fn raise_counter(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    sqlx::query("UPDATE state SET counter = counter + 1").execute(&mut **tx).await?;
    Ok(())
}

/// Ends a running session; false when it does not run.
async fn end(tx: &mut Tx<'_>, plan: PlanHash, outcome: &str) -> Result<bool, StoreError> {
    let ended = sqlx::query("UPDATE sessions SET outcome = ? WHERE plan = ? AND outcome IS NULL")
        .bind(outcome)
        .bind(plan.as_bytes().as_slice())
        .execute(&mut **tx)
        .await?;
    Ok(ended.rows_affected() == 1)
}

async fn unlock(tx: &mut Tx<'_>, plan: PlanHash) -> Result<(), StoreError> {
    let unlock = sqlx::query("DELETE FROM locks WHERE plan = ?").bind(plan.as_bytes().as_slice());
    unlock.execute(&mut **tx).await?;
    Ok(())
}

async fn outcome_of(tx: &mut Tx<'_>, plan: PlanHash) -> Result<Option<Option<String>>, StoreError> {
    let row = sqlx::query("SELECT outcome FROM sessions WHERE plan = ?")
        .bind(plan.as_bytes().as_slice())
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

#[async_trait]
impl PartyStore for SqlitePartyStore {
    async fn knowledge(&self, order: OrderId, account: AccountId) -> Result<Knowledge, StoreError> {
        // What matters of this is looked at again by the claim: it need not be one transaction.
        let row = sqlx::query(
            "SELECT latest_seen, counter,
               (SELECT sessions FROM orders WHERE id = ?1) AS sessions,
               (SELECT succeeded FROM orders WHERE id = ?1) AS succeeded,
               EXISTS (SELECT 1 FROM shares WHERE account = ?2 AND state = 'pending') AS promised
             FROM state",
        )
        .bind(order.as_bytes().as_slice())
        .bind(account.as_bytes().as_slice())
        .fetch_one(&self.pool)
        .await?;
        let bans = sqlx::query("SELECT counterparty FROM bans WHERE account = ?")
            .bind(account.as_bytes().as_slice())
            .fetch_all(&self.pool)
            .await?;
        let share =
            sqlx::query(ACTIVE_FACTS).bind(account.as_bytes().as_slice()).fetch_optional(&self.pool).await?;
        let sessions = row.try_get::<Option<i64>, _>("sessions")?.unwrap_or_default();
        let banned =
            bans.iter().map(|row| decoded(row.try_get::<&[u8], _>(0)?, "bans")).collect::<Result<_, _>>()?;
        let share = share.map(|row| self.open_facts(account, &row)).transpose()?.map(|facts| facts.share);
        Ok(Knowledge {
            sessions_of_order: u32::try_from(sessions).map_err(|_| StoreError::Malformed("orders"))?,
            order_succeeded: row.try_get::<Option<bool>, _>("succeeded")?.unwrap_or_default(),
            banned,
            share,
            promised: row.try_get("promised")?,
            latest_seen: unsigned(row.try_get("latest_seen")?)?,
            counter: unsigned(row.try_get("counter")?)?,
        })
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        let mut tx = self.begin().await?;
        let plan = claim.plan.as_bytes().as_slice();
        let row = sqlx::query(
            "SELECT EXISTS (SELECT 1 FROM sessions WHERE id = ?1 OR plan = ?2) AS before,
               (SELECT epoch FROM shares WHERE account = ?3 AND state = 'active') AS epoch,
               EXISTS (SELECT 1 FROM bans WHERE account = ?3) AS bans",
        )
        .bind(claim.session.as_bytes().as_slice())
        .bind(plan)
        .bind(claim.account.as_bytes().as_slice())
        .fetch_one(&mut *tx)
        .await?;
        let before = row.try_get::<bool, _>("before")?;
        if before {
            return Ok(Claimed::Before);
        }
        let active: Option<u32> = row.try_get("epoch")?;
        let mut stale = active != claim.epoch;
        if row.try_get("bans")? {
            for signer in &claim.signers {
                let banned = sqlx::query("SELECT 1 FROM bans WHERE account = ? AND counterparty = ?")
                    .bind(claim.account.as_bytes().as_slice())
                    .bind(signer.0.as_slice())
                    .fetch_optional(&mut *tx)
                    .await?;
                stale |= banned.is_some();
            }
        }
        if stale {
            return Ok(Claimed::Stale);
        }
        let counted = sqlx::query(
            "INSERT INTO orders (id, expires_at, sessions) VALUES (?, ?, 1)
             ON CONFLICT (id) DO UPDATE SET sessions = orders.sessions + 1
             WHERE orders.sessions < ? AND orders.succeeded = 0",
        )
        .bind(claim.order.as_bytes().as_slice())
        .bind(signed(claim.expires_at)?)
        .bind(i64::from(claim.at_most))
        .execute(&mut *tx)
        .await?;
        if counted.rows_affected() == 0 {
            return Ok(Claimed::OrderIsOver);
        }
        if claim.exclusive {
            let locked =
                sqlx::query("INSERT INTO locks (account, plan) VALUES (?, ?) ON CONFLICT DO NOTHING")
                    .bind(claim.account.as_bytes().as_slice())
                    .bind(plan)
                    .execute(&mut *tx)
                    .await?;
            if locked.rows_affected() == 0 {
                // Dropping the transaction takes the count back.
                return Ok(Claimed::Locked);
            }
        }
        sqlx::query(
            "INSERT INTO sessions (id, plan, order_id, account, exclusive, me, digest) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(claim.session.as_bytes().as_slice())
        .bind(plan)
        .bind(claim.order.as_bytes().as_slice())
        .bind(claim.account.as_bytes().as_slice())
        .bind(claim.exclusive)
        .bind(claim.me.number())
        .bind(claim.digest.as_bytes().as_slice())
        .execute(&mut *tx)
        .await?;
        sqlx::query("UPDATE state SET latest_seen = max(latest_seen, ?)")
            .bind(signed(claim.now)?)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Claimed::Yes)
    }

    async fn active_entries(&self, account: AccountId, epoch: u32) -> Result<Option<Entries>, StoreError> {
        let rows = sqlx::query(
            "SELECT plan, epoch, facts, name, sealed FROM shares LEFT JOIN entries USING (plan)
             WHERE account = ? AND epoch = ? AND state = 'active' ORDER BY name",
        )
        .bind(account.as_bytes().as_slice())
        .bind(epoch)
        .fetch_all(&self.pool)
        .await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let facts = self.open_facts(account, first)?;
        let mut entries = Entries::new();
        for row in &rows {
            let Some(name) = row.try_get::<Option<String>, _>("name")? else { continue };
            let place = entry_place(account, epoch, facts.plan, &name);
            let value = self.crypter.open(&place, row.try_get("sealed")?)?;
            entries.insert(name, value);
        }
        if entries.keys().ne(&facts.names) {
            return Err(StoreError::Sealed("entries"));
        }
        Ok(Some(entries))
    }

    async fn abort(&self, plan: PlanHash) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        if !end(&mut tx, plan, "aborted").await? {
            match outcome_of(&mut tx, plan).await?.flatten().as_deref() {
                Some("aborted") => {}
                _ => return Err(StoreError::Conflict("only a running session can be aborted")),
            }
        }
        unlock(&mut tx, plan).await?;
        Ok(tx.commit().await?)
    }

    async fn finish(&self, plan: PlanHash) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        if !end(&mut tx, plan, "finished").await? {
            return match outcome_of(&mut tx, plan).await?.flatten().as_deref() {
                Some("finished") => Ok(()),
                _ => Err(StoreError::Conflict("only a running session can finish")),
            };
        }
        sqlx::query(
            "UPDATE orders SET succeeded = 1 WHERE id = (SELECT order_id FROM sessions WHERE plan = ?)",
        )
        .bind(plan.as_bytes().as_slice())
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    async fn promise(&self, ready: &Ready, share: &Share, entries: &Entries) -> Result<(), StoreError> {
        let activation = &ready.activation;
        let (plan, account, epoch) = (activation.plan, activation.account, activation.epoch);
        if (share.account, share.epoch, share.key.hash()) != (account, epoch, activation.outputs) {
            return Err(StoreError::Conflict("a share that is not the one that is promised"));
        }
        let mut tx = self.begin().await?;
        if !end(&mut tx, plan, "promised").await? {
            return Err(StoreError::Conflict("only a running session can be promised"));
        }
        let kept = sqlx::query(
            "SELECT 1 FROM sessions JOIN locks USING (plan, account) WHERE plan = ? AND account = ?
             AND NOT EXISTS (SELECT 1 FROM shares WHERE shares.account = sessions.account
                             AND shares.state <> 'pending' AND shares.epoch >= ?)",
        )
        .bind(plan.as_bytes().as_slice())
        .bind(account.as_bytes().as_slice())
        .bind(epoch)
        .fetch_optional(&mut *tx)
        .await?;
        if kept.is_none() {
            return Err(StoreError::Conflict("a promise that this party could not keep"));
        }
        let names: Vec<String> = entries.keys().cloned().collect();
        let facts =
            self.crypter.seal(&facts_place(account, epoch, plan), &encode(&(share.clone(), names)))?;
        sqlx::query(
            "INSERT INTO shares (plan, account, epoch, state, ready, key_id, facts)
             VALUES (?, ?, ?, 'pending', ?, ?, ?)",
        )
        .bind(plan.as_bytes().as_slice())
        .bind(account.as_bytes().as_slice())
        .bind(epoch)
        .bind(encode(ready))
        .bind(self.crypter.key_id())
        .bind(facts)
        .execute(&mut *tx)
        .await?;
        for (name, value) in entries {
            let sealed = self.crypter.seal(&entry_place(account, epoch, plan, name), value)?;
            sqlx::query("INSERT INTO entries (plan, name, key_id, sealed) VALUES (?, ?, ?, ?)")
                .bind(plan.as_bytes().as_slice())
                .bind(name)
                .bind(self.crypter.key_id())
                .bind(sealed)
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }

    async fn promised(&self, plan: PlanHash) -> Result<Option<Share>, StoreError> {
        let row = sqlx::query(
            "SELECT plan, epoch, facts, account FROM shares WHERE plan = ? AND state = 'pending'",
        )
        .bind(plan.as_bytes().as_slice())
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let account = decoded(row.try_get::<&[u8], _>(3)?, "shares")?;
        Ok(Some(self.open_facts(account, &row)?.share))
    }

    async fn release(&self, plan: PlanHash) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        if outcome_of(&mut tx, plan).await?.flatten().as_deref() != Some("promised") {
            return Err(StoreError::Conflict("only a promise can be released"));
        }
        unlock(&mut tx, plan).await?;
        Ok(tx.commit().await?)
    }

    async fn activate(&self, certificate: &Certificate) -> Result<(), StoreError> {
        let activation = &certificate.activation;
        let plan = activation.plan.as_bytes().as_slice();
        let account = activation.account.as_bytes().as_slice();
        let mut tx = self.begin().await?;
        let row = sqlx::query("SELECT state, ready FROM shares WHERE plan = ?").bind(plan);
        let Some(row) = row.fetch_optional(&mut *tx).await? else {
            return Err(StoreError::Conflict("there is no promise to activate"));
        };
        let promised: Ready = decoded(row.try_get::<&[u8], _>(1)?, "shares")?;
        if promised.activation != *activation {
            return Err(StoreError::Conflict("this is not what was promised"));
        }
        match row.try_get::<&str, _>(0)? {
            "pending" => {}
            "active" => return Ok(()),
            // Another share set of this account has been activated: this one never will be.
            _ => return Err(StoreError::Conflict("another share set took the place of this one")),
        }
        let later =
            sqlx::query("SELECT 1 FROM shares WHERE account = ? AND state <> 'pending' AND epoch >= ?")
                .bind(account)
                .bind(activation.epoch)
                .fetch_optional(&mut *tx)
                .await?;
        if later.is_some() {
            return Err(StoreError::Conflict("the account has a share of this epoch or a later one"));
        }
        sqlx::query(
            "UPDATE shares SET state = 'retired'
             WHERE account = ? AND plan <> ? AND (state = 'active' OR state = 'pending' AND epoch <= ?)",
        )
        .bind(account)
        .bind(plan)
        .bind(activation.epoch)
        .execute(&mut *tx)
        .await?;
        sqlx::query("UPDATE shares SET state = 'active', certificate = ? WHERE plan = ?")
            .bind(encode(certificate))
            .bind(plan)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "UPDATE orders SET succeeded = 1 WHERE id = (SELECT order_id FROM sessions WHERE plan = ?)",
        )
        .bind(plan)
        .execute(&mut *tx)
        .await?;
        sqlx::query("UPDATE sessions SET reported = 0 WHERE plan = ?").bind(plan).execute(&mut *tx).await?;
        unlock(&mut tx, activation.plan).await?;
        // Whatever was promised besides can't become active any more: nothing waits for it.
        sqlx::query("DELETE FROM locks WHERE plan IN (SELECT plan FROM shares WHERE account = ? AND state = 'retired')")
            .bind(account)
            .execute(&mut *tx)
            .await?;
        raise_counter(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    async fn erase_retired(&self, account: AccountId, epoch: u32) -> Result<u64, StoreError> {
        // A retired promise of the same epoch is one that lost: it is erased with the shares from before.
        let erased = sqlx::query("DELETE FROM shares WHERE account = ? AND state = 'retired' AND epoch <= ?")
            .bind(account.as_bytes().as_slice())
            .bind(epoch)
            .execute(&self.pool)
            .await?;
        Ok(erased.rows_affected())
    }

    async fn ban(&self, account: AccountId, counterparty: PublicKey) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let banned =
            sqlx::query("INSERT INTO bans (account, counterparty) VALUES (?, ?) ON CONFLICT DO NOTHING")
                .bind(account.as_bytes().as_slice())
                .bind(counterparty.0.as_slice())
                .execute(&mut *tx)
                .await?;
        if banned.rows_affected() == 1 {
            raise_counter(&mut tx).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn suspend(&self, digest: Digest) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO suspended (digest) VALUES (?) ON CONFLICT DO NOTHING")
            .bind(digest.as_bytes().as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn suspended(&self) -> Result<Vec<Digest>, StoreError> {
        let rows = sqlx::query("SELECT digest FROM suspended ORDER BY digest").fetch_all(&self.pool).await?;
        rows.iter().map(|row| decoded(row.try_get(0)?, "suspended")).collect()
    }

    async fn peer_counter(&self, peer: PublicKey, counter: u64, now: u64) -> Result<bool, StoreError> {
        // No party has raised its counter that often: the peer says what it likes.
        let Ok(counter) = signed(counter) else { return Ok(false) };
        // Most often there is nothing new.
        let known =
            sqlx::query("SELECT settled FROM peers WHERE identity = ? AND highest >= ? AND turned > ? - ?")
                .bind(peer.0.as_slice())
                .bind(counter)
                .bind(signed(now)?)
                .bind(signed(COUNTER_SETTLES)?)
                .fetch_optional(&self.pool)
                .await?;
        if let Some(row) = known {
            return Ok(counter >= row.try_get::<i64, _>(0)?);
        }
        let mut tx = self.begin().await?;
        let row = sqlx::query("SELECT highest, marked, settled, turned FROM peers WHERE identity = ?")
            .bind(peer.0.as_slice())
            .fetch_optional(&mut *tx)
            .await?;
        let (mut highest, mut marked, mut settled, mut turned) = match row {
            Some(row) => (
                row.try_get::<i64, _>(0)?,
                row.try_get::<i64, _>(1)?,
                row.try_get::<i64, _>(2)?,
                unsigned(row.try_get(3)?)?,
            ),
            None => (0, 0, 0, now),
        };
        // What was the highest at the last turn settles at this one; after two turns without a word, all of it does.
        let turns = now.saturating_sub(turned) / COUNTER_SETTLES;
        if turns >= 1 {
            settled = if turns >= 2 { highest } else { marked };
            (marked, turned) = (highest, now);
        }
        let good = counter >= settled;
        highest = highest.max(counter);
        sqlx::query(
            "INSERT INTO peers (identity, highest, marked, settled, turned) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (identity) DO UPDATE SET highest = excluded.highest, marked = excluded.marked,
               settled = excluded.settled, turned = excluded.turned",
        )
        .bind(peer.0.as_slice())
        .bind(highest)
        .bind(marked)
        .bind(settled)
        .bind(signed(turned)?)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(good)
    }

    async fn running(&self) -> Result<Vec<Started>, StoreError> {
        let rows = sqlx::query("SELECT plan, id, order_id, me, digest FROM sessions WHERE outcome IS NULL")
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(started).collect()
    }

    async fn unreported(&self) -> Result<Vec<Unreported>, StoreError> {
        let rows = sqlx::query(
            "SELECT sessions.plan, sessions.id, order_id, me, digest, sessions.account, state, epoch, ready, facts,
                    certificate
             FROM sessions LEFT JOIN shares USING (plan)
             WHERE exclusive = 1 AND reported = 0 AND (outcome = 'aborted' OR state IN ('pending', 'active'))",
        )
        .fetch_all(&self.pool)
        .await?;
        let unreported = rows.iter().map(|row| {
            let account = decoded(row.try_get("account")?, "sessions")?;
            let key = || Ok::<_, StoreError>(self.open_facts(account, row)?.share.key);
            let result = match row.try_get::<Option<&str>, _>("state")? {
                // A session whose share was erased since has promised: it is not among these rows.
                None => Made::Nothing,
                Some("active") => Made::Share(decoded(row.try_get("certificate")?, "shares")?, key()?),
                Some(_) => Made::Promise(decoded(row.try_get("ready")?, "shares")?, key()?),
            };
            Ok(Unreported { started: started(row)?, result })
        });
        unreported.collect()
    }

    async fn reported(&self, plan: PlanHash) -> Result<(), StoreError> {
        sqlx::query("UPDATE sessions SET reported = 1 WHERE plan = ?")
            .bind(plan.as_bytes().as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn report_again(&self, account: AccountId) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE sessions SET reported = 0
             WHERE plan = (SELECT plan FROM shares WHERE account = ? AND state = 'active')",
        )
        .bind(account.as_bytes().as_slice())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn forget_expired(&self) -> Result<(), StoreError> {
        // Sessions that still run keep their order: they end first.
        sqlx::query(
            "DELETE FROM orders WHERE expires_at < (SELECT latest_seen FROM state) - ?
             AND NOT EXISTS (
               SELECT 1 FROM sessions LEFT JOIN shares USING (plan) WHERE order_id = orders.id
               AND (outcome IS NULL OR state IN ('pending', 'active')
                    OR outcome = 'aborted' AND exclusive = 1 AND reported = 0))",
        )
        .bind(KEPT_AFTER_EXPIRY)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
