//! What an operator permits: the repair of a party that has lost its shares (rule 2).

use quorate_backends::database::{On, Row, StoreError, Tx, signed, sql};
use quorate_core::codec::encode;
use quorate_core::order::RepairedParty;
use quorate_core::{AccountId, UnixSeconds, wire_struct};

use super::account_state::AccountState;
use super::{Claim, PartyStore};

/// A permit, as its MAC covers it. Which accounts have used it is part of what is known of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Permit {
    id: [u8; 16],
    party: RepairedParty,
    /// None: each account of the party, once.
    account: Option<AccountId>,
    until: UnixSeconds,
}

wire_struct!(Permit { id, party, account, until });

impl PartyStore {
    /// Permits to repair the lost shares of a party until a time: the share of one account once, or of each account once.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn permit_repair(
        &self,
        party: RepairedParty,
        account: Option<AccountId>,
        until: UnixSeconds,
    ) -> Result<(), StoreError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| StoreError::Conflict("no randomness"))?;
        let permit = Permit { id, party, account, until };
        sql("INSERT INTO repair_permits (id, identity, former, account, until, mac) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(permit.id.as_slice())
            .bind(party.identity.0.as_slice())
            .bind(party.former.0.as_slice())
            .bind(account.map(|account| account.as_bytes().to_vec()).unwrap_or_default())
            .bind(signed(until.0)?)
            .bind(self.crypter.mac("repair permits", &encode(&permit)))
            .execute(&self.database)
            .await
            .map(drop)
    }

    /// The parties whose lost shares of an account may be repaired now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn repairable(
        &self,
        account: AccountId,
        now: UnixSeconds,
    ) -> Result<Vec<RepairedParty>, StoreError> {
        let known = self.account_state(&self.database, account).await?;
        let permits = self.permits(&self.database, account, &known, now).await?;
        Ok(permits.into_iter().map(|permit| permit.party).collect())
    }

    /// Uses the permits that a claimed repair needs; false if one is missing by now.
    pub(super) async fn use_permits(
        &self,
        tx: &mut Tx,
        claim: &Claim,
        known: &AccountState,
    ) -> Result<bool, StoreError> {
        if claim.repaired.is_empty() {
            return Ok(true);
        }
        let permits = self.permits(&mut *tx, claim.account, known, claim.now).await?;
        for party in &claim.repaired {
            let of_party = permits.iter().filter(|permit| permit.party == *party);
            // One for this account alone goes first.
            let first = of_party.min_by_key(|permit| (permit.account.is_none(), permit.until, permit.id));
            let Some(permit) = first else { return Ok(false) };
            sql("INSERT INTO used_permits (account, id) VALUES ($1, $2)")
                .bind(claim.account.as_bytes())
                .bind(permit.id.as_slice())
                .execute(&mut *tx)
                .await?;
        }
        self.seal_account(tx, claim.account).await?;
        self.raise_counter(tx).await?;
        Ok(true)
    }

    /// The permits for an account that it has not used and that are not over.
    async fn permits(
        &self,
        on: impl On + Send,
        account: AccountId,
        known: &AccountState,
        now: UnixSeconds,
    ) -> Result<Vec<Permit>, StoreError> {
        let rows = sql("SELECT id, identity, former, account, until, mac FROM repair_permits
             WHERE (account = $1 OR account = $2) AND until > $3")
        .bind(account.as_bytes())
        .bind(Vec::<u8>::new())
        .bind(signed(now.0)?)
        .fetch_all(on)
        .await?;
        let mut permits = rows.iter().map(|row| self.permit(row)).collect::<Result<Vec<_>, _>>()?;
        permits.retain(|permit| !known.has_used(&permit.id));
        Ok(permits)
    }

    fn permit(&self, row: &Row) -> Result<Permit, StoreError> {
        let account: Vec<u8> = row.get("account")?;
        let permit = Permit {
            id: row.read("id", "repair_permits")?,
            party: RepairedParty {
                former: row.read("former", "repair_permits")?,
                identity: row.read("identity", "repair_permits")?,
            },
            account: (!account.is_empty()).then(|| row.read("account", "repair_permits")).transpose()?,
            until: UnixSeconds(row.get("until")?),
        };
        let mac: Vec<u8> = row.get("mac")?;
        if self.crypter.is_mac("repair permits", &encode(&permit), &mac) {
            Ok(permit)
        } else {
            Err(StoreError::Altered("repair_permits"))
        }
    }
}

#[cfg(test)]
pub(crate) mod conformance;
