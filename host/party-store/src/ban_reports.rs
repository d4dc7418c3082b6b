//! Signed bans: those of this party, which it may have lost, and those that others have told it of (rule 8).

use quorate_backends::database::{Row, StoreError, sql};
use quorate_core::ban::{Ban, SignedBan};
use quorate_core::codec::encode;
use quorate_core::{AccountId, KeyRecord, PartyIndex, PlanHash, SessionId};

use super::account_state::share_set_key;
use super::bans::party_of;
use super::{BannedParty, PartyStore};

/// A ban that this party has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnBan {
    /// Whom, and on what.
    pub banned: BannedParty,
    /// The session in which it cheated.
    pub session: SessionId,
}

/// The bans that a party keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptBans {
    /// Those that it has decided.
    pub own: Vec<OwnBan>,
    /// Those that others have decided, as they signed them.
    pub of_others: Vec<SignedBan>,
}

impl PartyStore {
    /// The bans on a share set of an account that this party keeps.
    ///
    /// # Errors
    /// See [`StoreError`]; the same holds for all methods.
    pub async fn kept_bans(
        &self,
        account: AccountId,
        share_set: Option<PlanHash>,
    ) -> Result<KeptBans, StoreError> {
        let mut kept = self.all_kept_bans(account).await?;
        kept.own.retain(|own| own.banned.share_set == share_set);
        kept.of_others.retain(|signed| signed.ban.share_set == share_set);
        Ok(kept)
    }

    /// The bans on all share sets of an account that this party keeps, those included that are long replaced.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn all_kept_bans(&self, account: AccountId) -> Result<KeptBans, StoreError> {
        // It verifies what the statements below read.
        self.account_state(&self.database, account).await?;
        let own =
            sql("SELECT share_set, party, session FROM bans WHERE account = $1 ORDER BY share_set, party")
                .bind(account.as_bytes())
                .fetch_all(&self.database)
                .await?;
        let of_others =
            sql("SELECT report FROM ban_reports WHERE account = $1 ORDER BY share_set, decided_by, party")
                .bind(account.as_bytes())
                .fetch_all(&self.database)
                .await?;
        Ok(KeptBans {
            own: own.iter().map(|row| own_ban(account, row)).collect::<Result<_, _>>()?,
            of_others: of_others
                .iter()
                .map(|row| row.read("report", "ban_reports"))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The accounts on which this party keeps bans, and whose key it has a share of.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn accounts_with_bans(&self) -> Result<Vec<AccountId>, StoreError> {
        let rows = sql("SELECT account FROM bans UNION SELECT account FROM ban_reports ORDER BY account")
            .fetch_all(&self.database)
            .await?;
        rows.iter().map(|row| row.read("account", "bans")).collect()
    }

    /// The record of an account's key that is sealed with the active share, if there is one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn record(&self, account: AccountId) -> Result<Option<KeyRecord>, StoreError> {
        match self.account_state(&self.database, account).await?.active()? {
            Some(share_set) => self.record_of(account, share_set).await.map(Some),
            None => Ok(None),
        }
    }

    /// Keeps bans on one account that other parties have decided. The caller has verified them.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn keep_ban_reports(&self, account: AccountId, bans: &[SignedBan]) -> Result<(), StoreError> {
        if bans.is_empty() {
            return Ok(());
        }
        let mut tx = self.database.begin(account.as_bytes()).await?;
        self.account_state(&mut tx, account).await?;
        let mut new = 0;
        for signed in bans {
            let Ban { share_set, by, banned, .. } = signed.ban;
            new += sql("INSERT INTO ban_reports (account, share_set, decided_by, party, report)
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING")
            .bind(account.as_bytes())
            .bind(share_set_key(share_set))
            .bind(by.number())
            .bind(banned.number())
            .bind(encode(signed))
            .execute(&mut tx)
            .await?;
        }
        if new > 0 {
            self.seal_account(&mut tx, account).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Takes bans on one account up again that this party has decided and lost since: it was set back. One that it has is not
    /// touched: a ban that was lifted stays so. Gives those that are new.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn restore_bans(&self, account: AccountId, bans: &[OwnBan]) -> Result<Vec<OwnBan>, StoreError> {
        if bans.is_empty() {
            return Ok(vec![]);
        }
        let mut tx = self.database.begin(account.as_bytes()).await?;
        self.account_state(&mut tx, account).await?;
        let mut restored = Vec::new();
        for own in bans {
            let inserted =
                sql("INSERT INTO bans (account, share_set, party, session) VALUES ($1, $2, $3, $4)
                 ON CONFLICT DO NOTHING")
                .bind(account.as_bytes())
                .bind(share_set_key(own.banned.share_set))
                .bind(own.banned.party.number())
                .bind(own.session.as_bytes())
                .execute(&mut tx)
                .await?;
            restored.extend((inserted == 1).then_some(*own));
        }
        if !restored.is_empty() {
            self.seal_account(&mut tx, account).await?;
            self.raise_counter(&mut tx).await?;
            tx.commit().await?;
        }
        Ok(restored)
    }
}

fn own_ban(account: AccountId, row: &Row) -> Result<OwnBan, StoreError> {
    let share_set: Vec<u8> = row.get("share_set")?;
    let share_set = match share_set.as_slice() {
        [] => None,
        plan => Some(PlanHash(plan.try_into().map_err(|_| StoreError::Malformed("bans"))?)),
    };
    let party: PartyIndex = party_of(row.get("party")?)?;
    Ok(OwnBan { banned: BannedParty { account, share_set, party }, session: row.read("session", "bans")? })
}
