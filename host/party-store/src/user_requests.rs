//! The users' party: what a user may use once. Each claim and each request number is for one order.

use quorate_backends::database::{StoreError, Tx, signed, sql};
use quorate_core::{OrderId, UnixSeconds};

use super::PartyStore;

/// Notes that a claim is the one to the share that an order makes. It is kept for ever: there is one for each share.
///
/// # Errors
/// [`StoreError::Conflict`] when it has served for the share of another order.
pub(super) async fn use_claim(tx: &mut Tx, claim_hash: &[u8; 32], order: OrderId) -> Result<(), StoreError> {
    let statement = "INSERT INTO share_claims (claim_hash, order_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    let inserted = sql(statement).bind(claim_hash.as_slice()).bind(order.as_bytes()).execute(tx).await?;
    if inserted == 1 { Ok(()) } else { Err(StoreError::Conflict("the claim was used for another share")) }
}

impl PartyStore {
    /// The order whose share a claim has served for.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn claimed_by(&self, claim_hash: [u8; 32]) -> Result<Option<OrderId>, StoreError> {
        let row = sql("SELECT order_id FROM share_claims WHERE claim_hash = $1").bind(claim_hash.as_slice());
        let row = row.fetch_optional(&self.database).await?;
        row.map(|row| row.read("order_id", "share_claims")).transpose()
    }

    /// Notes that a request with this number is for this order; false if it was for another one. The number is
    /// kept until a day after `expires_at`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn use_nonce(
        &self,
        nonce: [u8; 32],
        order: OrderId,
        expires_at: UnixSeconds,
    ) -> Result<bool, StoreError> {
        let mut tx = self.database.begin(&nonce).await?;
        sql("INSERT INTO nonces (nonce, order_id, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(nonce.as_slice())
            .bind(order.as_bytes())
            .bind(signed(expires_at.0)?)
            .execute(&mut tx)
            .await?;
        let row = sql("SELECT order_id FROM nonces WHERE nonce = $1")
            .bind(nonce.as_slice())
            .fetch_one(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(row.read::<OrderId>("order_id", "nonces")? == order)
    }
}
