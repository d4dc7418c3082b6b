//! Lifts: an operator permits one complete refresh with a party that is banned (rule 8).

use quorate_backends::database::{StoreError, Tx, sql};
use quorate_core::certificate::Activation;
use quorate_core::{AccountId, PartyIndex, PlanHash};

use super::account_state::{AccountState, share_set_key};
use super::{Claim, PartyStore};

impl PartyStore {
    /// Permits one complete refresh of an account with a party that is banned on it. The ban ends when the new share set is activated; on
    /// the share sets from before it stays for ever, and nothing else is done with those. Says whether there is such a ban.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn lift_ban(&self, account: AccountId, party: PartyIndex) -> Result<bool, StoreError> {
        let mut tx = self.database.begin(account.as_bytes()).await?;
        self.account_state(&mut tx, account).await?;
        // Whatever share set it is about: this party may have lost its share of it.
        let lifted =
            sql("UPDATE bans SET lifted = TRUE, lift_plan = NULL WHERE account = $1 AND party = $2 AND share_set <> $3")
                .bind(account.as_bytes())
                .bind(party.number())
                .bind(share_set_key(None))
                .execute(&mut tx)
                .await?;
        if lifted > 0 {
            self.seal_account(&mut tx, account).await?;
            self.raise_counter(&mut tx).await?;
            tx.commit().await?;
        }
        Ok(lifted > 0)
    }

    /// Uses the lifts that a claimed refresh needs up: they permit no other.
    pub(super) async fn use_lifts(
        &self,
        tx: &mut Tx,
        claim: &Claim,
        known: &AccountState,
    ) -> Result<(), StoreError> {
        let mut used = 0;
        for ban in known.bans_on(claim.named()).filter(|ban| claim.signers.contains(&ban.party)) {
            used +=
                sql("UPDATE bans SET lift_plan = $1 WHERE account = $2 AND share_set = $3 AND party = $4")
                    .bind(claim.plan.as_bytes())
                    .bind(claim.account.as_bytes())
                    .bind(share_set_key(claim.named()))
                    .bind(ban.party.number())
                    .execute(&mut *tx)
                    .await?;
        }
        if used > 0 {
            self.seal_account(&mut *tx, claim.account).await?;
            self.raise_counter(tx).await?;
        }
        Ok(())
    }
}

/// Bans of the share set before hold for the one that is activated, and for those that wait beside it, except those that were
/// lifted for the refresh that has made it. Any other refresh of a banned pair was promised before the ban.
pub(super) async fn carry_bans_over(
    tx: &mut Tx,
    activation: &Activation,
    before: Option<PlanHash>,
) -> Result<(), StoreError> {
    sql("INSERT INTO bans (account, share_set, party, session)
         SELECT bans.account, plan, party, session FROM bans JOIN shares USING (account)
         WHERE bans.account = $1 AND share_set = $3 AND (plan = $2 OR state = 'pending')
         AND (lift_plan IS NULL OR lift_plan <> plan)
         ON CONFLICT DO NOTHING")
    .bind(activation.account.as_bytes())
    .bind(activation.plan.as_bytes())
    .bind(share_set_key(before))
    .execute(tx)
    .await
    .map(drop)
}
