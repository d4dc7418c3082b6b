//! The users' party: the keys that users seal their shares to. All replicas use the same ones. They are sealed under the
//! master key, and a backup leaves them out: what users have sealed must not open for ever.

use std::time::Duration;

use quorate_backends::database::{Row, StoreError, Tx, signed, sql};
use quorate_core::order::MAX_CLOCK_SKEW;
use quorate_core::sealed_box::RecipientKey;
use quorate_core::sealing_key::SealingKey;
use quorate_core::{AccountId, PlanHash, SealingKeyId, UnixSeconds};
use zeroize::Zeroizing;

use super::PartyStore;
use super::crypter::RowContext;

/// Decides between replicas that miss a key at once.
const LOCK: &[u8] = b"sealing keys";

impl PartyStore {
    /// The key that users seal to now. Each is given out for `period`, and opens what was sealed to it for as long again;
    /// when there is none, one is made.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn current_sealing_key(
        &self,
        now: UnixSeconds,
        period: Duration,
    ) -> Result<SealingKey, StoreError> {
        let until = signed(now.0)?;
        let current = || {
            // Keys that were made under a longer period end as they were signed, and are given out for half their time.
            sql("SELECT * FROM sealing_keys
                 WHERE not_before <= $1 AND (not_before + not_after) / 2 > $1 ORDER BY not_after DESC LIMIT 1")
            .bind(until)
        };
        if let Some(row) = current().fetch_optional(&self.database).await? {
            return Ok(self.opened_sealing_key(&row)?.0);
        }
        let mut tx = self.database.begin(LOCK).await?;
        if let Some(row) = current().fetch_optional(&mut tx).await? {
            return Ok(self.opened_sealing_key(&row)?.0);
        }
        let made = self.insert_sealing_key(&mut tx, now, period).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// The key of this id with its secret; none when its time is over, or when it never was.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn sealing_key(
        &self,
        id: SealingKeyId,
        now: UnixSeconds,
    ) -> Result<Option<RecipientKey>, StoreError> {
        let row = sql("SELECT * FROM sealing_keys WHERE id = $1 AND not_after > $2 AND not_before <= $3")
            .bind(id.as_bytes())
            .bind(signed(now.0)?)
            .bind(signed((now + MAX_CLOCK_SKEW).0)?)
            .fetch_optional(&self.database)
            .await?;
        row.map(|row| self.opened_sealing_key(&row).map(|(_, secret)| secret)).transpose()
    }

    /// Deletes the keys whose time is over, and those of a clock that was ahead.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn delete_sealing_keys(&self, now: UnixSeconds) -> Result<(), StoreError> {
        sql("DELETE FROM sealing_keys WHERE not_after <= $1 OR not_before > $2")
            .bind(signed(now.0)?)
            .bind(signed((now + MAX_CLOCK_SKEW).0)?)
            .execute(&self.database)
            .await?;
        Ok(())
    }

    async fn insert_sealing_key(
        &self,
        tx: &mut Tx,
        now: UnixSeconds,
        period: Duration,
    ) -> Result<SealingKey, StoreError> {
        let (mut id, mut material) = ([0; 16], Zeroizing::new([0; 32]));
        getrandom::fill(&mut id)
            .and_then(|()| getrandom::fill(material.as_mut_slice()))
            .map_err(|_| StoreError::Conflict("no randomness"))?;
        let (id, secret) = (SealingKeyId(id), RecipientKey::derive(&material));
        let made = SealingKey { id, key: secret.public(), not_before: now, not_after: now + period + period };
        let name = name(id, made.not_before, made.not_after);
        let sealed = self.crypter.seal(&sealing_key_context(&name), secret.to_bytes().as_slice())?;
        sql("INSERT INTO sealing_keys (id, sealed, not_before, not_after) VALUES ($1, $2, $3, $4)")
            .bind(id.as_bytes())
            .bind(sealed)
            .bind(signed(made.not_before.0)?)
            .bind(signed(made.not_after.0)?)
            .execute(tx)
            .await?;
        Ok(made)
    }

    fn opened_sealing_key(&self, row: &Row) -> Result<(SealingKey, RecipientKey), StoreError> {
        let id: SealingKeyId = row.read("id", "sealing_keys")?;
        let (not_before, not_after) =
            (UnixSeconds(row.get("not_before")?), UnixSeconds(row.get("not_after")?));
        let name = name(id, not_before, not_after);
        let secret = self.crypter.open(&sealing_key_context(&name), &row.get::<Vec<u8>>("sealed")?)?;
        let malformed = || StoreError::Malformed("sealing_keys");
        let secret = Zeroizing::new(secret.as_slice().try_into().map_err(|_| malformed())?);
        let secret = RecipientKey::from_bytes(&secret).map_err(|_| malformed())?;
        Ok((SealingKey { id, key: secret.public(), not_before, not_after }, secret))
    }
}

fn sealing_key_context(name: &str) -> RowContext<'_> {
    let (account, plan) = (AccountId([0; 16]), PlanHash([0; 32]));
    RowContext { table: "sealing_keys", account, epoch: 0, plan, name }
}

/// What a row says in the clear: the party signs it, so that it must not be changed.
fn name(id: SealingKeyId, not_before: UnixSeconds, not_after: UnixSeconds) -> String {
    let id: String = id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{id} {} {}", not_before.0, not_after.0)
}
