//! What a party knows of an account besides its secrets: share sets, bans and counts, with one MAC over all of them.
//!
//! Every transaction that changes any of it begins with [`PartyStore::account_state`] and ends with
//! [`PartyStore::seal_account`]. So a row that the database has lost, or that another program has written, is noticed
//! before anything is done because of the others.

use quorate_backends::database::{On, Row, StoreError, Tx, sql};
use quorate_core::codec::{Bytes, encode};
use quorate_core::{AccountId, PartyIndex, PlanHash, SessionId, wire_struct};

use super::{AdmissionFacts, PartyStore};

/// The rows of an account. Each list is sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AccountState {
    /// Its share sets: plan, epoch and state.
    shares: Vec<ShareSet>,
    /// Parties that this party has banned.
    pub(super) bans: Vec<StoredBan>,
    /// Bans that other parties have decided.
    pub(super) reports: Vec<BanReport>,
    /// Signings of unknown outcome.
    pub(super) unknown: Vec<UnknownOutcomes>,
    /// Permits of repairs that were used.
    used_permits: Vec<Bytes>,
}

/// A share set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ShareSet {
    plan: Bytes,
    epoch: u32,
    state: String,
}

/// A party that this party has banned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StoredBan {
    /// Empty for a ban from a keygen.
    pub(super) share_set: Bytes,
    pub(super) party: PartyIndex,
    /// The session in which it cheated.
    pub(super) session: SessionId,
    /// Whether the operator permits one refresh with it.
    pub(super) lifted: bool,
    /// The refresh that was claimed because of that.
    pub(super) lift_plan: Option<PlanHash>,
}

/// A ban that another party has decided.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BanReport {
    share_set: Bytes,
    by: PartyIndex,
    party: PartyIndex,
    /// As it was signed.
    pub(super) signed: Bytes,
}

/// How many signings with a party on a share set have an unknown outcome.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UnknownOutcomes {
    pub(super) share_set: Bytes,
    pub(super) party: PartyIndex,
    pub(super) sessions: u32,
}

wire_struct!(ShareSet { plan, epoch, state });
wire_struct!(StoredBan { share_set, party, session, lifted, lift_plan });
wire_struct!(BanReport { share_set, by, party, signed });
wire_struct!(UnknownOutcomes { share_set, party, sessions });
wire_struct!(AccountState { shares, bans, reports, unknown, used_permits });

impl StoredBan {
    /// Whether a refresh with the party may be claimed.
    pub(super) fn permits_refresh(&self) -> bool {
        self.lifted && self.lift_plan.is_none()
    }
}

impl AccountState {
    /// The active share set.
    pub(super) fn active(&self) -> Result<Option<PlanHash>, StoreError> {
        let active = self.shares.iter().find(|share| share.state == "active");
        let plan = active.map(|share| <[u8; 32]>::try_from(share.plan.0.as_slice()).map(PlanHash));
        plan.transpose().map_err(|_| StoreError::Malformed("shares"))
    }

    /// The active share set, if it is of this epoch or a later one.
    pub(super) fn active_from(&self, epoch: u32) -> Result<Option<PlanHash>, StoreError> {
        let is_later = self.shares.iter().any(|share| share.state == "active" && share.epoch >= epoch);
        if is_later { self.active() } else { Ok(None) }
    }

    /// The active share set, if it is of this epoch.
    pub(super) fn active_of(&self, epoch: u32) -> Result<Option<PlanHash>, StoreError> {
        let is_of_epoch = self.shares.iter().any(|share| share.state == "active" && share.epoch == epoch);
        if is_of_epoch { self.active() } else { Ok(None) }
    }

    /// Whether a share set of the account is in this state.
    pub(super) fn has(&self, state: &str) -> bool {
        self.shares.iter().any(|share| share.state == state)
    }

    /// Whether a repair of the account has used this permit.
    pub(super) fn has_used(&self, permit: &[u8]) -> bool {
        self.used_permits.iter().any(|used| used.0 == permit)
    }

    /// The bans on a share set.
    pub(super) fn bans_on(&self, share_set: Option<PlanHash>) -> impl Iterator<Item = &StoredBan> {
        let key = share_set_key(share_set);
        self.bans.iter().filter(move |ban| ban.share_set.0 == key)
    }

    /// Whether this party keeps bans on a share set, its own or those of others.
    pub(super) fn keeps_bans_on(&self, share_set: Option<PlanHash>) -> bool {
        let key = share_set_key(share_set);
        self.bans_on(share_set).next().is_some()
            || self.reports.iter().any(|report| report.share_set.0 == key)
    }

    fn take(&mut self, row: &Row) -> Result<(), StoreError> {
        let share_set = Bytes(row.get("share_set")?);
        let (first, second): (u32, u32) = (row.get("first")?, row.get("second")?);
        let party = |number: u32| party_of(u16::try_from(number).map_err(|_| StoreError::Malformed("bans"))?);
        match row.get::<String>("kind")?.as_str() {
            "ban" => self.bans.push(StoredBan {
                share_set,
                party: party(first)?,
                session: row.read("session", "bans")?,
                lifted: second != 0,
                lift_plan: row
                    .get::<Option<Vec<u8>>>("lift_plan")?
                    .map(|_| row.read("lift_plan", "bans"))
                    .transpose()?,
            }),
            "permit" => self.used_permits.push(share_set),
            "share" => self.shares.push(ShareSet { plan: share_set, epoch: first, state: row.get("state")? }),
            "report" => {
                let signed = Bytes(row.get("session")?);
                self.reports.push(BanReport { share_set, by: party(first)?, party: party(second)?, signed });
            }
            _ => self.unknown.push(UnknownOutcomes { share_set, party: party(first)?, sessions: second }),
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn encoded(&self, account: AccountId) -> Vec<u8> {
        encode(&(account, self.clone()))
    }
}

impl AdmissionFacts {
    /// Takes the bans on a share set.
    pub(super) fn note_bans(&mut self, known: &AccountState, share_set: Option<PlanHash>) {
        let lifted = known.bans_on(share_set).filter(|ban| ban.permits_refresh());
        self.lifted = lifted.map(|ban| ban.party).collect();
        self.banned = known.bans_on(share_set).map(|ban| ban.party).collect();
        self.keeps_bans = known.keeps_bans_on(share_set);
    }
}

/// A share set as part of a key: one that is not there is empty.
pub(super) fn share_set_key(share_set: Option<PlanHash>) -> Vec<u8> {
    share_set.map(|plan| plan.as_bytes().to_vec()).unwrap_or_default()
}

pub(super) fn party_of(number: u16) -> Result<PartyIndex, StoreError> {
    PartyIndex::try_from(number).map_err(|_| StoreError::Malformed("bans"))
}

/// All rows of an account, and its MAC, in one statement: another transaction may end between two.
const ROWS: &str =
    "SELECT 'ban' AS kind, share_set, party AS first, CASE WHEN lifted THEN 1 ELSE 0 END AS second, '' AS state,
            session, lift_plan FROM bans WHERE account = $1
     UNION ALL SELECT 'mac', mac, 0, 0, '', NULL, NULL FROM account_macs WHERE account = $1
     UNION ALL SELECT 'share', plan, epoch, 0, state, NULL, NULL FROM shares WHERE account = $1
     UNION ALL SELECT 'report', share_set, decided_by, party, '', report, NULL FROM ban_reports WHERE account = $1
     UNION ALL SELECT 'permit', id, 0, 0, '', NULL, NULL FROM used_permits WHERE account = $1
     UNION ALL SELECT 'unknown', share_set, party, sessions, '', NULL, NULL
       FROM unknown_outcomes WHERE share_set IN (SELECT plan FROM shares WHERE account = $1)";

async fn read(on: impl On + Send, account: AccountId) -> Result<(AccountState, Option<Vec<u8>>), StoreError> {
    let rows = sql(ROWS).bind(account.as_bytes()).fetch_all(on).await?;
    let (mut state, mut mac) = (AccountState::default(), None);
    for row in &rows {
        match row.get::<String>("kind")?.as_str() {
            "mac" => mac = Some(row.get("share_set")?),
            _ => state.take(row)?,
        }
    }
    state.shares.sort();
    state.bans.sort();
    state.reports.sort();
    state.unknown.sort();
    state.used_permits.sort();
    Ok((state, mac))
}

impl PartyStore {
    /// What this party knows of an account.
    ///
    /// # Errors
    /// [`StoreError::Altered`] when the rows are not those that this party has written.
    pub(super) async fn account_state(
        &self,
        on: impl On + Send,
        account: AccountId,
    ) -> Result<AccountState, StoreError> {
        let (state, mac) = read(on, account).await?;
        let is_known = match &mac {
            Some(mac) => self.crypter.is_mac("account", &state.encoded(account), mac),
            None => state.is_empty(),
        };
        if is_known { Ok(state) } else { Err(StoreError::Altered("account_macs")) }
    }

    /// Puts the bans on another share set into the facts: the one of which this party's share is lost.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn take_bans_on(
        &self,
        facts: &mut AdmissionFacts,
        account: AccountId,
        lost: Option<PlanHash>,
    ) -> Result<(), StoreError> {
        let known = self.account_state(&self.database, account).await?;
        facts.note_bans(&known, lost);
        Ok(())
    }

    /// Writes the MAC of an account anew, over what this transaction has changed.
    pub(super) async fn seal_account(&self, tx: &mut Tx, account: AccountId) -> Result<(), StoreError> {
        let (state, _) = read(&mut *tx, account).await?;
        sql("INSERT INTO account_macs (account, mac) VALUES ($1, $2)
             ON CONFLICT (account) DO UPDATE SET mac = excluded.mac")
        .bind(account.as_bytes())
        .bind(self.crypter.mac("account", &state.encoded(account)))
        .execute(tx)
        .await
        .map(drop)
    }
}
