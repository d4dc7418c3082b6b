//! Bans, open signings and signings of unknown outcome: what a counterparty may have learned (rule 8).

use quorate_backends::database::{StoreError, Tx, sql};
use quorate_core::{AccountId, PartyIndex, PlanHash, SessionId, Threshold};

use super::account_state::{AccountState, StoredBan, UnknownOutcomes, share_set_key};
use super::session_rows::{abort_session, end, unlock};
use super::{Claim, ClaimOutcome, PartyStore};

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

/// The session in which a ban was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DecidedIn {
    /// The session.
    pub session: SessionId,
    /// Its plan.
    pub plan: PlanHash,
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
    /// counter. A second time it changes nothing, except that a lift which was granted before is void.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn ban(&self, banned: &[BannedParty], decided_in: DecidedIn) -> Result<(), StoreError> {
        let Some(first) = banned.first() else { return Ok(()) };
        let mut tx = self.database.begin(first.account.as_bytes()).await?;
        if self.insert_bans(&mut tx, banned, decided_in.session).await? {
            self.raise_counter(&mut tx).await?;
        }
        if end(&mut tx, decided_in.plan, "aborted").await? {
            unlock(&mut tx, decided_in.plan).await?;
        }
        tx.commit().await
    }

    /// Stores bans on one account. Says whether this changes anything.
    async fn insert_bans(
        &self,
        tx: &mut Tx,
        banned: &[BannedParty],
        session: SessionId,
    ) -> Result<bool, StoreError> {
        let mut changed = 0;
        let Some(BannedParty { account, .. }) = banned.first().copied() else { return Ok(false) };
        self.account_state(&mut *tx, account).await?;
        for banned in banned {
            changed += sql("INSERT INTO bans (account, share_set, party, session) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (account, share_set, party) DO UPDATE SET lifted = FALSE, lift_plan = NULL
                 WHERE bans.lifted")
            .bind(account.as_bytes())
            .bind(share_set_key(banned.share_set))
            .bind(banned.party.number())
            .bind(session.as_bytes())
            .execute(&mut *tx)
            .await?;
        }
        if changed > 0 {
            self.seal_account(tx, account).await?;
        }
        Ok(changed > 0)
    }

    /// The counterparties with which nothing may be done on an account's share set, in a session that is not the refresh of
    /// this plan which an operator has permitted.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn banned(
        &self,
        account: AccountId,
        share_set: Option<PlanHash>,
        plan: PlanHash,
    ) -> Result<Vec<PartyIndex>, StoreError> {
        let known = self.account_state(&self.database, account).await?;
        let bans = known.bans_on(share_set).filter(|ban| ban.lift_plan != Some(plan));
        Ok(bans.map(|ban| ban.party).collect())
    }

    /// Records that a signing session has ended, and that nobody knows whether its counterparties cheated.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it has a result.
    pub async fn abort_unknown(&self, plan: PlanHash) -> Result<(), StoreError> {
        let row =
            sql("SELECT account, share_set, exposed_to FROM sessions WHERE plan = $1").bind(plan.as_bytes());
        let Some(row) = row.fetch_optional(&self.database).await? else {
            return Err(StoreError::Conflict("only a running session can be aborted"));
        };
        let account: AccountId = row.read("account", "sessions")?;
        let mut tx = self.database.begin(account.as_bytes()).await?;
        self.account_state(&mut tx, account).await?;
        if !abort_session(&mut tx, plan).await? {
            return Ok(());
        }
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
            self.seal_account(&mut tx, account).await?;
            self.raise_counter(&mut tx).await?;
        }
        tx.commit().await
    }
}

/// Checks the counterparties of a claim: whether one is banned, has as many open signings as may be, or too many of unknown
/// outcome. `open_bits` is what all counterparties of the account may learn from the signings that are open.
pub(super) async fn check_counterparties(
    tx: &mut Tx,
    claim: &Claim,
    known: &AccountState,
    open_bits: u32,
) -> Result<Counterparties, StoreError> {
    let bars = |ban: &StoredBan| {
        claim.signers.contains(&ban.party) && !(claim.is_refresh() && ban.permits_refresh())
    };
    if known.bans_on(claim.named()).any(bars) {
        return Ok(Counterparties::Obstacle(ClaimOutcome::Stale));
    }
    if let Some(full) = full_counterparty(tx, claim, open_bits).await? {
        return Ok(Counterparties::Obstacle(ClaimOutcome::Full(full)));
    }
    Ok(unknown_outcomes(claim, known))
}

/// A counterparty of a claim that may learn as many bits from open signings as it may, over all replicas. `open_bits` is what all may
/// learn together.
async fn full_counterparty(
    tx: &mut Tx,
    claim: &Claim,
    open_bits: u32,
) -> Result<Option<PartyIndex>, StoreError> {
    let Some(at_most) = claim.open_signings.map(i64::from) else { return Ok(None) };
    // A batch that has more bits than a counterparty may learn is open alone.
    let left = at_most - exposed_bits(claim).min(at_most);
    if i64::from(open_bits) <= left {
        return Ok(None);
    }
    let rows = sql(
        "SELECT exposed_to, exposed_bits FROM sessions WHERE account = $1 AND outcome IS NULL AND exposed_to <> 0",
    )
    .bind(claim.account.as_bytes())
    .fetch_all(&mut *tx)
    .await?;
    let mut open = Vec::with_capacity(rows.len());
    for row in &rows {
        let (parties, bits): (i64, i64) = (row.get("exposed_to")?, row.get("exposed_bits")?);
        open.push((parties, bits));
    }
    let open_with = |party: &PartyIndex| -> i64 {
        open.iter().filter(|(parties, _)| parties & bit(*party) != 0).map(|(_, bits)| bits).sum()
    };
    Ok(parties_of(exposed_to(claim)).find(|party| open_with(party) > left))
}

/// How many signing sessions of unknown outcome there were with the counterparties of a claim.
fn unknown_outcomes(claim: &Claim, known: &AccountState) -> Counterparties {
    let (exposed_to, share_set) = (exposed_to(claim), share_set_key(claim.share_set));
    let of_claim =
        |unknown: &&UnknownOutcomes| unknown.share_set.0 == share_set && exposed_to & bit(unknown.party) != 0;
    let mut found = Counterparties::Clear;
    for unknown in known.unknown.iter().filter(of_claim) {
        if unknown.sessions >= REFRESH_REQUIRED {
            return Counterparties::Obstacle(ClaimOutcome::RefreshRequired(unknown.party));
        }
        if unknown.sessions >= REFRESH_WANTED {
            found = Counterparties::RefreshWanted;
        }
    }
    found
}

/// The counterparties that may learn a bit of a secret from a session, a bit for each.
pub(super) fn exposed_to(claim: &Claim) -> i64 {
    if claim.open_signings.is_none() || claim.exclusive {
        return 0;
    }
    bits_of(claim.signers.iter().filter(|party| **party != claim.me))
}

/// How many bits of a secret each of them may learn from it. One if one item is signed. The time that a batch takes can tell how many of its
/// items have failed, and a counterparty may cheat in each: of n items it learns a number from 0 to n.
pub(super) fn exposed_bits(claim: &Claim) -> i64 {
    if exposed_to(claim) == 0 { 0 } else { (u32::BITS - claim.signatures.max(1).leading_zeros()).into() }
}

/// A bit for each party: 1 for party 1, 2 for party 2, 4 for party 3.
pub(super) fn bits_of<'a>(parties: impl IntoIterator<Item = &'a PartyIndex>) -> i64 {
    parties.into_iter().fold(0, |bits, party| bits | bit(*party))
}

fn bit(party: PartyIndex) -> i64 {
    1_i64.checked_shl(u32::from(party.number() - 1)).unwrap_or_default()
}

fn parties_of(exposed_to: i64) -> impl Iterator<Item = PartyIndex> {
    PartyIndex::all(Threshold::MAX_PARTIES).filter(move |party| exposed_to & bit(*party) != 0)
}
