//! Signed bans: those of this party, which it may have lost, and those that others have told it of (rule 8).

use quorate_backends::database::{StoreError, decoded, sql};
use quorate_core::ban::{Ban, SignedBan};
use quorate_core::codec::encode;
use quorate_core::{AccountId, KeyRecord, PlanHash, SessionId};

use super::account_state::{StoredBan, share_set_key};
use super::{BannedParty, PartyStore};

/// A ban that this party has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnBan {
    /// Whom, and on what.
    pub banned: BannedParty,
    /// The session in which it cheated.
    pub session: SessionId,
}

impl OwnBan {
    /// What a signed ban of this party says.
    #[must_use]
    pub fn of(ban: &Ban) -> Self {
        let Ban { account, share_set, banned, session, .. } = *ban;
        Self { banned: BannedParty { account, share_set, party: banned }, session }
    }
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
        let known = self.account_state(&self.database, account).await?;
        Ok(KeptBans {
            own: known.bans.iter().map(|ban| own_ban(account, ban)).collect::<Result<_, _>>()?,
            of_others: known
                .reports
                .iter()
                .map(|report| decoded(&report.signed.0, "ban_reports"))
                .collect::<Result<_, _>>()?,
        })
    }

    /// All accounts that this party knows anything of: what is missing from one shows when it is read.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn accounts(&self) -> Result<Vec<AccountId>, StoreError> {
        let rows = sql("SELECT account FROM account_macs UNION SELECT account FROM shares
             UNION SELECT account FROM bans UNION SELECT account FROM ban_reports ORDER BY account")
        .fetch_all(&self.database)
        .await?;
        rows.iter().map(|row| row.read("account", "account_macs")).collect()
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

    /// Takes bans on one account up again that this party has decided and lost since. They show that it was set back, which it
    /// remembers until its operator accepts it. A ban that it has is not touched: one that was lifted stays so. Gives those that
    /// are new.
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
            self.change_state(&mut tx, |state| {
                state.counter += 1;
                state.once_counter = state.once_counter.max(state.counter);
            })
            .await?;
            tx.commit().await?;
        }
        Ok(restored)
    }
}

fn own_ban(account: AccountId, ban: &StoredBan) -> Result<OwnBan, StoreError> {
    let share_set = match ban.share_set.0.as_slice() {
        [] => None,
        plan => Some(PlanHash(plan.try_into().map_err(|_| StoreError::Malformed("bans"))?)),
    };
    Ok(OwnBan { banned: BannedParty { account, share_set, party: ban.party }, session: ban.session })
}
