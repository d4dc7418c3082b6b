//! Shares: promised, activated with a certificate, retired and erased.

use std::collections::BTreeMap;

use quorate_backends::database::StoreError;
use quorate_backends::database::{Tx, decoded, sql};
use quorate_core::KeyRecord;
use quorate_core::certificate::{Certificate, Ready};
use quorate_core::codec::encode;
use quorate_core::{AccountId, PlanHash};

use super::lifts::carry_bans_over;
use super::pool::delete_other_share_sets;
use super::session_rows::{end, outcome_of, share_set_of, unlock};
use super::{PartyStore, data_key_context, entry_context, facts_context};
use quorate_core::user_share::ShareEntries;

/// A share that this party has promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromisedShare {
    /// The record that was stored with it.
    pub record: KeyRecord,
    /// What has become of it.
    pub state: ShareState,
    /// The promises of all parties, if it was ever active.
    pub certificate: Option<Certificate>,
}

/// What has become of a promised share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareState {
    /// It waits for its certificate.
    Pending,
    /// It is the account's share.
    Active,
    /// Another share set took its place.
    Retired,
}

/// Whether an order names the share set that is to be activated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    ByOrder,
    No,
}

/// How a session ends with a share.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// With a promise that may be sent.
    Promised,
    /// With a share that a user has still to confirm: until then nothing is promised.
    Delivered,
}

impl PartyStore {
    /// The entries of a share, which the caller knows to be the active one of its account; `None` when it is not there.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn entries(
        &self,
        account: AccountId,
        share_set: PlanHash,
    ) -> Result<Option<ShareEntries>, StoreError> {
        let rows = sql(
            "SELECT plan, epoch, data_key, facts, name, sealed FROM shares LEFT JOIN entries USING (plan)
             WHERE plan = $1",
        )
        .bind(share_set.as_bytes())
        .fetch_all(&self.database)
        .await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let epoch: u32 = first.get("epoch")?;
        let facts = self.open_facts(account, first)?;
        let mut kept = BTreeMap::new();
        for row in &rows {
            let Some(name) = row.get::<Option<Vec<u8>>>("name")? else { continue };
            kept.insert(name, row.get::<Vec<u8>>("sealed")?);
        }
        let mut entries = ShareEntries::new();
        for name in facts.names {
            let sealed =
                kept.remove(&self.entry_name(facts.plan, &name)).ok_or(StoreError::Sealed("entries"))?;
            let context = entry_context(account, epoch, facts.plan, &name);
            let value = self.crypter.open_under(&facts.key, &context, &sealed)?;
            entries.insert(name, value);
        }
        if kept.is_empty() { Ok(Some(entries)) } else { Err(StoreError::Sealed("entries")) }
    }

    /// The name of an entry as it is stored: a MAC. The component has chosen the name itself, and could put a part of a
    /// share in it.
    fn entry_name(&self, plan: PlanHash, name: &str) -> Vec<u8> {
        self.crypter.mac("names of entries", &encode(&(plan, name.to_owned())))
    }

    /// The active share set of an account, if it is of this epoch.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn active_share_set(
        &self,
        account: AccountId,
        epoch: u32,
    ) -> Result<Option<PlanHash>, StoreError> {
        self.account_state(&self.database, account).await?.active_of(epoch)
    }

    /// Stores a pending share together with its promise and with what is to be known of it. Only then may the promise
    /// be sent.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the session was aborted, never claimed, or claimed for something else, or when the
    /// account has a share of this epoch or a later one: a promise must be one that can be kept.
    pub async fn promise(
        &self,
        ready: &Ready,
        record: &KeyRecord,
        entries: &ShareEntries,
    ) -> Result<(), StoreError> {
        let tx = self.store_share(ready, record, entries, Stored::Promised).await?;
        tx.commit().await
    }

    /// Ends a session with a share, in a transaction that is still to be committed.
    pub(super) async fn store_share(
        &self,
        ready: &Ready,
        record: &KeyRecord,
        entries: &ShareEntries,
        stored: Stored,
    ) -> Result<Tx, StoreError> {
        let activation = &ready.activation;
        let (plan, account, epoch) = (activation.plan, activation.account, activation.epoch);
        if (record.spec.account, record.epoch, record.key.hash()) != (account, epoch, activation.outputs) {
            return Err(StoreError::Conflict("a share that is not the one that is promised"));
        }
        let (outcome, state) = match stored {
            Stored::Promised => ("promised", "pending"),
            Stored::Delivered => ("delivered", "delivered"),
        };
        let mut tx = self.database.begin(account.as_bytes()).await?;
        self.account_state(&mut tx, account).await?;
        if !end(&mut tx, plan, outcome).await? {
            return Err(StoreError::Conflict("only a running session can be promised"));
        }
        let kept =
            sql("SELECT 1 FROM sessions JOIN locks USING (plan, account) WHERE plan = $1 AND account = $2
             AND NOT EXISTS (SELECT 1 FROM shares WHERE shares.account = sessions.account
                             AND shares.state <> 'pending' AND shares.epoch >= $3)")
            .bind(plan.as_bytes())
            .bind(account.as_bytes())
            .bind(epoch)
            .fetch_optional(&mut tx)
            .await?;
        if kept.is_none() {
            return Err(StoreError::Conflict("a promise that this party could not keep"));
        }
        let names: Vec<String> = entries.keys().cloned().collect();
        let (key, sealed_key) = self.crypter.new_data_key(&data_key_context(account, epoch, plan))?;
        let context = facts_context(account, epoch, plan);
        let facts = self.crypter.seal_under(&key, &context, &encode(&(record.clone(), names)))?;
        sql("INSERT INTO shares (plan, account, epoch, state, ready, key_id, data_key, facts)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(plan.as_bytes())
        .bind(account.as_bytes())
        .bind(epoch)
        .bind(state)
        .bind(encode(ready))
        .bind(self.crypter.key_id())
        .bind(sealed_key)
        .bind(facts)
        .execute(&mut tx)
        .await?;
        for (name, value) in entries {
            let sealed = self.crypter.seal_under(&key, &entry_context(account, epoch, plan, name), value)?;
            sql("INSERT INTO entries (plan, name, key_id, sealed) VALUES ($1, $2, $3, $4)")
                .bind(plan.as_bytes())
                .bind(self.entry_name(plan, name))
                .bind(self.crypter.key_id())
                .bind(sealed)
                .execute(&mut tx)
                .await?;
        }
        self.seal_account(&mut tx, account).await?;
        Ok(tx)
    }

    /// A share that was promised, whatever has become of it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn promised(&self, plan: PlanHash) -> Result<Option<PromisedShare>, StoreError> {
        let row = sql("SELECT plan, epoch, data_key, facts, account, state, certificate FROM shares
             WHERE plan = $1 AND state <> 'delivered'")
        .bind(plan.as_bytes())
        .fetch_optional(&self.database)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let record = self.open_facts(row.read("account", "shares")?, &row)?.record;
        let state = match row.get::<String>("state")?.as_str() {
            "pending" => ShareState::Pending,
            "active" => ShareState::Active,
            _ => ShareState::Retired,
        };
        let certificate = row.get::<Option<Vec<u8>>>("certificate")?;
        let certificate = certificate.map(|bytes| decoded(&bytes, "shares")).transpose()?;
        Ok(Some(PromisedShare { record, state, certificate }))
    }

    /// Frees the account of a promised share that can't be completed any more. The share stays, for a certificate
    /// that may still turn up.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it was not promised.
    pub async fn release(&self, plan: PlanHash) -> Result<(), StoreError> {
        let mut tx = self.database.begin(plan.as_bytes()).await?;
        if outcome_of(&mut tx, plan).await?.as_deref() != Some("promised") {
            return Err(StoreError::Conflict("only a promise can be released"));
        }
        unlock(&mut tx, plan).await?;
        tx.commit().await
    }

    /// Makes a promised share the active one, by a certificate that the caller has verified; the one before is
    /// retired, and so is every other promise that can't become active any more. Raises the state counter. A second
    /// time it changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when this was not promised, or the account has a share of this epoch or a later one.
    pub async fn activate(&self, certificate: &Certificate) -> Result<(), StoreError> {
        self.activate_share(certificate, Named::No).await
    }

    /// The same as [`Self::activate`], for a share set that a genuine order names: it takes the place of another one of its epoch.
    /// Two share sets of one epoch can both have a certificate if a party has lied; the account service chooses one of them.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when this was not promised, or the account has a share of a later epoch.
    pub async fn activate_named(&self, certificate: &Certificate) -> Result<(), StoreError> {
        self.activate_share(certificate, Named::ByOrder).await
    }

    async fn activate_share(&self, certificate: &Certificate, named: Named) -> Result<(), StoreError> {
        let activation = &certificate.activation;
        let plan = activation.plan.as_bytes();
        let account = activation.account.as_bytes();
        let mut tx = self.database.begin(account).await?;
        let known = self.account_state(&mut tx, activation.account).await?;
        let row = sql("SELECT state, ready FROM shares WHERE plan = $1").bind(plan);
        let Some(row) = row.fetch_optional(&mut tx).await? else {
            return Err(StoreError::Conflict("there is no promise to activate"));
        };
        let promised: Ready = row.read("ready", "shares")?;
        if promised.activation != *activation {
            return Err(StoreError::Conflict("this is not what was promised"));
        }
        match (row.get::<String>("state")?.as_str(), named) {
            ("pending", _) | ("retired", Named::ByOrder) => {}
            ("active", _) => return Ok(()),
            // Another share set of this account has been activated: this one comes back only if an order names it.
            _ => return Err(StoreError::Conflict("another share set took the place of this one")),
        }
        let in_the_way = activation.epoch.saturating_add(u32::from(named == Named::ByOrder));
        let later = sql("SELECT 1 FROM shares WHERE account = $1 AND state <> 'pending' AND epoch >= $2")
            .bind(account)
            .bind(in_the_way)
            .fetch_optional(&mut tx)
            .await?;
        if later.is_some() {
            return Err(StoreError::Conflict("the account has a share of this epoch or a later one"));
        }
        // This party may have had no share of the set before.
        let before = match known.active_from(activation.epoch.saturating_sub(1))? {
            Some(active) => Some(active),
            None => share_set_of(&mut tx, activation.plan).await?,
        };
        carry_bans_over(&mut tx, activation, before).await?;
        sql("UPDATE shares SET state = 'retired'
             WHERE account = $1 AND plan <> $2 AND (state = 'active' OR state = 'pending' AND epoch <= $3)")
        .bind(account)
        .bind(plan)
        .bind(activation.epoch)
        .execute(&mut tx)
        .await?;
        sql("UPDATE shares SET state = 'active', certificate = $1 WHERE plan = $2")
            .bind(encode(certificate))
            .bind(plan)
            .execute(&mut tx)
            .await?;
        sql("UPDATE orders SET succeeded = TRUE WHERE id = (SELECT order_id FROM sessions WHERE plan = $1)")
            .bind(plan)
            .execute(&mut tx)
            .await?;
        sql("UPDATE sessions SET reported = FALSE WHERE plan = $1").bind(plan).execute(&mut tx).await?;
        unlock(&mut tx, activation.plan).await?;
        // Whatever was promised besides can't become active any more: nothing waits for it.
        sql("DELETE FROM locks WHERE plan IN (SELECT plan FROM shares WHERE account = $1 AND state = 'retired')")
            .bind(account)
            .execute(&mut tx)
            .await?;
        let outdated = delete_other_share_sets(&mut tx, activation.account, activation.plan).await?;
        self.seal_account(&mut tx, activation.account).await?;
        self.raise_counter(&mut tx).await?;
        tx.commit().await?;
        self.pool.forget(&outdated);
        Ok(())
    }
}
