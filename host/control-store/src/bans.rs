//! Bans that parties have decided, from reports: plans carry them to the other parties.

use quorate_backends::database::{StoreError, sql};
use quorate_core::ban::SignedBan;
use quorate_core::codec::encode;
use quorate_core::{AccountId, PlanHash};

use super::SessionStore;

impl SessionStore {
    /// Keeps a ban, which the caller has verified.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn add_ban(&self, signed: &SignedBan) -> Result<(), StoreError> {
        let ban = &signed.ban;
        sql("INSERT INTO bans (account, share_set, decided_by, party, ban)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING")
        .bind(ban.account.as_bytes())
        .bind(key_of(ban.share_set))
        .bind(ban.by.number())
        .bind(ban.banned.number())
        .bind(encode(signed))
        .execute(&self.database)
        .await
        .map(drop)
    }

    /// The bans on an account's share set; `None` is its keygen.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn bans(
        &self,
        account: AccountId,
        share_set: Option<PlanHash>,
    ) -> Result<Vec<SignedBan>, StoreError> {
        let rows =
            sql("SELECT ban FROM bans WHERE account = $1 AND share_set = $2 ORDER BY decided_by, party")
                .bind(account.as_bytes())
                .bind(key_of(share_set))
                .fetch_all(&self.database)
                .await?;
        rows.iter().map(|row| row.read("ban", "bans")).collect()
    }
}

fn key_of(share_set: Option<PlanHash>) -> Vec<u8> {
    share_set.map(|plan| plan.as_bytes().to_vec()).unwrap_or_default()
}
