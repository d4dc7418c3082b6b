//! Bans, open signings and signings of unknown outcome: what a counterparty may have learned (rule 8).

use quorate_backends::database::{Row, Statement, StoreError, Tx, sql};
use quorate_core::{AccountId, PartyIndex, PlanHash, Threshold};

use super::{Claim, ClaimOutcome, PartyStore, abort_session, end, raise_counter, unlock};

/// Sessions of unknown outcome with one counterparty on one share set, from which on the shares should be refreshed.
pub(crate) const REFRESH_WANTED: u32 = 32;

/// And from which on nothing is signed with that counterparty before they are.
pub(crate) const REFRESH_REQUIRED: u32 = 96;

/// A counterparty with which this party never works again on one share set of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BannedParty {
    /// The account.
    pub account: AccountId,
    /// The share set; `None` if the counterparty cheated in the account's keygen.
    pub share_set: Option<PlanHash>,
    /// The counterparty.
    pub party: PartyIndex,
}

/// What earlier sessions say about the counterparties of a claim.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Counterparties {
    /// Nothing against it.
    Clear,
    /// Nothing against it, but the shares should be refreshed.
    RefreshWanted,
    /// One of them stands in its way.
    Obstacle(ClaimOutcome),
}

impl PartyStore {
    /// Bars counterparties from an account's share set for ever, ends the session in which they cheated, and raises the state
    /// counter. A second time it changes nothing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn ban(&self, banned: &[BannedParty], session: PlanHash) -> Result<(), StoreError> {
        let Some(first) = banned.first() else { return Ok(()) };
        let mut tx = self.database.begin(first.account.as_bytes()).await?;
        let mut new = 0;
        for banned in banned {
            new += sql(
                "INSERT INTO bans (account, share_set, party) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            )
            .bind(banned.account.as_bytes())
            .bind(share_set_key(banned.share_set))
            .bind(banned.party.number())
            .execute(&mut tx)
            .await?;
        }
        if new > 0 {
            raise_counter(&mut tx).await?;
        }
        if end(&mut tx, session, "aborted").await? {
            unlock(&mut tx, session).await?;
        }
        tx.commit().await
    }

    /// The counterparties that are banned on an account's share set.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn banned(
        &self,
        account: AccountId,
        share_set: Option<PlanHash>,
    ) -> Result<Vec<PartyIndex>, StoreError> {
        banned_parties(&banned_rows(account, share_set).fetch_all(&self.database).await?)
    }

    /// Records that a signing session has ended, and that nobody knows whether its counterparties cheated.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it has a result.
    pub async fn abort_unknown(&self, plan: PlanHash) -> Result<(), StoreError> {
        let mut tx = self.database.begin(plan.as_bytes()).await?;
        if !abort_session(&mut tx, plan).await? {
            return Ok(());
        }
        let row = sql("SELECT share_set, exposed_to FROM sessions WHERE plan = $1")
            .bind(plan.as_bytes())
            .fetch_one(&mut tx)
            .await?;
        let share_set = row.get::<Option<Vec<u8>>>("share_set")?;
        let exposed_to: i64 = row.get("exposed_to")?;
        for party in parties_of(exposed_to) {
            // What was erased meanwhile needs no count.
            sql("INSERT INTO unknown_outcomes (share_set, party, sessions)
                 SELECT plan, $2, 1 FROM shares WHERE plan = $1
                 ON CONFLICT (share_set, party) DO UPDATE SET sessions = unknown_outcomes.sessions + 1")
            .bind(share_set.clone())
            .bind(party.number())
            .execute(&mut tx)
            .await?;
        }
        if exposed_to != 0 {
            raise_counter(&mut tx).await?;
        }
        tx.commit().await
    }
}

/// Checks the counterparties of a claim: whether one is banned, has as many open signings as may be, or too many of unknown
/// outcome. `row` has the columns `bans`, `open_signings` and `unknown`, which say where to look at all.
pub(super) async fn check_counterparties(
    tx: &mut Tx,
    claim: &Claim,
    row: &Row,
) -> Result<Counterparties, StoreError> {
    if row.get("bans")? && names_banned_party(tx, claim).await? {
        return Ok(Counterparties::Obstacle(ClaimOutcome::Stale));
    }
    if let Some(full) = full_counterparty(tx, claim, row.get("open_signings")?).await? {
        return Ok(Counterparties::Obstacle(ClaimOutcome::Full(full)));
    }
    if row.get("unknown")? { unknown_outcomes(tx, claim).await } else { Ok(Counterparties::Clear) }
}

/// Whether a signer of a claim is banned on its share set.
async fn names_banned_party(tx: &mut Tx, claim: &Claim) -> Result<bool, StoreError> {
    let banned = banned_parties(&banned_rows(claim.account, claim.share_set).fetch_all(&mut *tx).await?)?;
    Ok(claim.signers.iter().any(|signer| banned.contains(signer)))
}

/// Reads the bans on a share set.
fn banned_rows(account: AccountId, share_set: Option<PlanHash>) -> Statement {
    sql("SELECT party FROM bans WHERE account = $1 AND share_set = $2 ORDER BY party")
        .bind(account.as_bytes())
        .bind(share_set_key(share_set))
}

fn banned_parties(rows: &[Row]) -> Result<Vec<PartyIndex>, StoreError> {
    rows.iter().map(|row| party_of(row.get("party")?)).collect()
}

/// A counterparty of a claim with which as many signing sessions are open as may be, over all replicas. `open` is the number
/// with any counterparty.
async fn full_counterparty(tx: &mut Tx, claim: &Claim, open: u32) -> Result<Option<PartyIndex>, StoreError> {
    let Some(at_most) = claim.open_signings.filter(|&at_most| open >= u32::from(at_most)) else {
        return Ok(None);
    };
    let rows =
        sql("SELECT exposed_to FROM sessions WHERE account = $1 AND outcome IS NULL AND exposed_to <> 0")
            .bind(claim.account.as_bytes())
            .fetch_all(&mut *tx)
            .await?;
    let open: Vec<i64> = rows.iter().map(|row| row.get("exposed_to")).collect::<Result<_, _>>()?;
    let open_with = |party: &PartyIndex| open.iter().filter(|parties| *parties & bit(*party) != 0).count();
    Ok(parties_of(exposed_to(claim)).find(|party| open_with(party) >= usize::from(at_most)))
}

/// How many signing sessions of unknown outcome there were with the counterparties of a claim.
async fn unknown_outcomes(tx: &mut Tx, claim: &Claim) -> Result<Counterparties, StoreError> {
    let rows = sql(
        "SELECT party, sessions FROM unknown_outcomes WHERE share_set = $1 AND sessions >= $2 ORDER BY party",
    )
    .bind(share_set_key(claim.share_set))
    .bind(REFRESH_WANTED)
    .fetch_all(&mut *tx)
    .await?;
    let mut found = Counterparties::Clear;
    for row in &rows {
        let party = party_of(row.get("party")?)?;
        if exposed_to(claim) & bit(party) == 0 {
            continue;
        }
        if row.get::<u32>("sessions")? >= REFRESH_REQUIRED {
            return Ok(Counterparties::Obstacle(ClaimOutcome::RefreshRequired(party)));
        }
        found = Counterparties::RefreshWanted;
    }
    Ok(found)
}

/// The counterparties that may learn a bit of a secret from a session, a bit for each.
pub(super) fn exposed_to(claim: &Claim) -> i64 {
    if claim.open_signings.is_none() || claim.exclusive {
        return 0;
    }
    claim.signers.iter().filter(|party| **party != claim.me).fold(0, |parties, party| parties | bit(*party))
}

fn bit(party: PartyIndex) -> i64 {
    1_i64.checked_shl(u32::from(party.number() - 1)).unwrap_or_default()
}

fn parties_of(exposed_to: i64) -> impl Iterator<Item = PartyIndex> {
    PartyIndex::all(Threshold::MAX_PARTIES).filter(move |party| exposed_to & bit(*party) != 0)
}

fn party_of(number: u16) -> Result<PartyIndex, StoreError> {
    PartyIndex::try_from(number).map_err(|_| StoreError::Malformed("bans"))
}

/// A share set as part of a key: one that is not there is empty.
pub(super) fn share_set_key(share_set: Option<PlanHash>) -> Vec<u8> {
    share_set.map(|plan| plan.as_bytes().to_vec()).unwrap_or_default()
}
