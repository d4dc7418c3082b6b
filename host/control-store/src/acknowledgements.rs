//! Acknowledgements of share sets, from reports: with those of all parties the parties erase older share sets.

use quorate_backends::database::{StoreError, sql};
use quorate_core::PlanHash;
use quorate_core::acknowledgement::Acknowledgement;
use quorate_core::certificate::Activation;
use quorate_core::codec::encode;

use super::SessionStore;

impl SessionStore {
    /// Keeps a party's acknowledgement of a share set, which the caller has verified. Once all have acknowledged it, those of
    /// earlier epochs of the account are forgotten.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn add_acknowledgement(
        &self,
        of: &Activation,
        acknowledgement: &Acknowledgement,
    ) -> Result<(), StoreError> {
        let mut tx = self.database.begin(of.account.as_bytes()).await?;
        sql("INSERT INTO acknowledgements (account, epoch, share_set, party, acknowledgement)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING")
        .bind(of.account.as_bytes())
        .bind(of.epoch)
        .bind(of.plan.as_bytes())
        .bind(acknowledgement.by.number())
        .bind(encode(acknowledgement))
        .execute(&mut tx)
        .await?;
        sql("DELETE FROM acknowledgements WHERE account = $1 AND epoch < $2
             AND (SELECT count(*) FROM acknowledgements AS newer WHERE newer.share_set = $3) >= $4")
        .bind(of.account.as_bytes())
        .bind(of.epoch)
        .bind(of.plan.as_bytes())
        .bind(of.threshold.parties())
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// The acknowledgements of a share set so far.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn acknowledgements(&self, share_set: PlanHash) -> Result<Vec<Acknowledgement>, StoreError> {
        let rows = sql("SELECT acknowledgement FROM acknowledgements WHERE share_set = $1 ORDER BY party")
            .bind(share_set.as_bytes())
            .fetch_all(&self.database)
            .await?;
        rows.iter().map(|row| row.read("acknowledgement", "acknowledgements")).collect()
    }
}
