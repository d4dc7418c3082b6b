//! The share sets of an account beside each other: which may be erased, and the proof that a party has lied about one.

use quorate_backends::database::{StoreError, sql};
use quorate_core::acknowledgement::Acknowledgement;
use quorate_core::codec::encode;
use quorate_core::promise::Contradiction;
use quorate_core::{AccountId, PlanHash};

use super::PartyStore;

impl PartyStore {
    /// Keeps other parties' word, which the caller has verified, that they have activated a share set of this party.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn keep_acknowledgements(
        &self,
        acknowledgements: &[Acknowledgement],
    ) -> Result<(), StoreError> {
        for acknowledgement in acknowledgements {
            sql("INSERT INTO acknowledgements (plan, party, acknowledgement)
                 SELECT plan, $2, $3 FROM shares WHERE plan = $1 ON CONFLICT DO NOTHING")
            .bind(acknowledgement.plan.as_bytes())
            .bind(acknowledgement.by.number())
            .bind(encode(acknowledgement))
            .execute(&self.database)
            .await?;
        }
        Ok(())
    }

    /// Erases retired shares of an account, by a genuine order that names the share set `named`, which is the active one, of
    /// the order's `epoch`. They go when all `parties` have acknowledged a share set of their epoch or a later one, and the
    /// order names that set or a later one: then no party and no order comes back to them. Says how many there were.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn erase_replaced(
        &self,
        account: AccountId,
        named: PlanHash,
        epoch: u32,
        parties: u16,
    ) -> Result<u64, StoreError> {
        let mut tx = self.database.begin(account.as_bytes()).await?;
        self.account_state(&mut tx, account).await?;
        let kept = sql("SELECT plan, epoch FROM shares
             WHERE account = $1 AND certificate IS NOT NULL AND (plan = $2 OR epoch < $3)
             AND (SELECT count(*) FROM acknowledgements WHERE acknowledgements.plan = shares.plan) >= $4
             ORDER BY epoch DESC LIMIT 1")
        .bind(account.as_bytes())
        .bind(named.as_bytes())
        .bind(epoch)
        // This party's own is its share.
        .bind(parties.saturating_sub(1))
        .fetch_optional(&mut tx)
        .await?;
        let Some(kept) = kept else { return Ok(0) };
        let erased = sql("DELETE FROM shares
             WHERE account = $1 AND state = 'retired' AND plan <> $2 AND epoch <= $3")
        .bind(account.as_bytes())
        .bind(kept.get::<Vec<u8>>("plan")?)
        .bind(kept.get::<u32>("epoch")?)
        .execute(&mut tx)
        .await?;
        self.seal_account(&mut tx, account).await?;
        tx.commit().await?;
        Ok(erased)
    }

    /// Keeps the proof that a party has lied. Says whether it is new.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn keep_contradiction(&self, contradiction: &Contradiction) -> Result<bool, StoreError> {
        let kept = sql(
            "INSERT INTO contradictions (plan, party, ready, abort) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(contradiction.ready.activation.plan.as_bytes())
        .bind(contradiction.by().number())
        .bind(encode(&contradiction.ready))
        .bind(encode(&contradiction.abort))
        .execute(&self.database)
        .await?;
        Ok(kept == 1)
    }
}
