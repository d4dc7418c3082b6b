//! Sessions: claimed once, ended once, and what is left to be told of them.

use quorate_backends::database::{StoreError, Tx, signed, sql};
use quorate_core::order::MAX_CLOCK_SKEW;
use quorate_core::{AccountId, KeyRecord, OrderId, PlanHash, SessionId, UnixMillis, UnixSeconds};

use tokio::time::Instant;

use super::bans::{Counterparties, check_counterparties, exposed_bits, exposed_to};
use super::daily_signatures::{count_signatures, forget_days};
use super::party_state::state_columns;
use super::session_rows::{FinishedOrder, abort_session, finish_session, outcome_of, started};
use super::{
    ABANDONMENT_AGE, AdmissionFacts, Claim, ClaimOutcome, ORDER_RETENTION_SECONDS, PartyStore,
    SET_BACK_PERIOD, SessionResult, Started, Unreported,
};

impl PartyStore {
    /// Reads what bears on a plan.
    ///
    /// # Errors
    /// See [`StoreError`]; the same holds for all methods.
    pub async fn admission_facts(
        &self,
        order: OrderId,
        account: AccountId,
        plan: PlanHash,
    ) -> Result<AdmissionFacts, StoreError> {
        // The claim reads the facts that matter again, so that this need not be one transaction.
        let read_at = Instant::now();
        let row = sql(concat!(
            "SELECT ",
            state_columns!(),
            ", (SELECT sessions FROM orders WHERE id = $1) AS sessions,
               (SELECT succeeded FROM orders WHERE id = $1) AS succeeded,
               EXISTS (SELECT 1 FROM sessions WHERE plan = $2) AS claimed
             FROM state"
        ))
        .bind(order.as_bytes())
        .bind(plan.as_bytes())
        .fetch_one(&self.database)
        .await?;
        let state = self.opened_state(&row)?;
        let known = self.account_state(&self.database, account).await?;
        let share_set = known.active()?;
        let record = match share_set {
            Some(share_set) => Some(self.record_of(account, share_set).await?),
            None => None,
        };
        let mut facts = AdmissionFacts {
            claimed: row.get("claimed")?,
            sessions_of_order: row.get::<Option<u32>>("sessions")?.unwrap_or_default(),
            order_succeeded: row.get::<Option<bool>>("succeeded")?.unwrap_or_default(),
            banned: vec![],
            lifted: vec![],
            keeps_bans: false,
            record,
            share_set,
            promised: known.has("pending"),
            has_retired: known.has("retired"),
            latest_seen: state.latest_seen,
            orders_from: state.orders_from,
            counter: state.counter,
            database: state.database,
            read_at,
        };
        facts.note_bans(&known, share_set);
        Ok(facts)
    }

    /// The record that is sealed with a share which is there.
    pub(super) async fn record_of(
        &self,
        account: AccountId,
        share_set: PlanHash,
    ) -> Result<KeyRecord, StoreError> {
        let row =
            sql("SELECT plan, epoch, data_key, facts FROM shares WHERE plan = $1").bind(share_set.as_bytes());
        let row = row.fetch_optional(&self.database).await?.ok_or(StoreError::Altered("shares"))?;
        Ok(self.open_facts(account, &row)?.record)
    }

    /// Whether a session was claimed, here or by another replica.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn was_claimed(&self, session: SessionId) -> Result<bool, StoreError> {
        let row = sql("SELECT 1 FROM sessions WHERE id = $1").bind(session.as_bytes());
        Ok(row.fetch_optional(&self.database).await?.is_some())
    }

    /// Whether a session was claimed, has no outcome yet, and is before its deadline.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn is_running(&self, session: SessionId, now: UnixMillis) -> Result<bool, StoreError> {
        let row = sql("SELECT 1 FROM sessions WHERE id = $1 AND outcome IS NULL AND deadline >= $2")
            .bind(session.as_bytes())
            .bind(signed(now.0)?);
        Ok(row.fetch_optional(&self.database).await?.is_some())
    }

    /// Claims a session: counts it for its order, locks the account if it is exclusive, and notes the time.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn claim(&self, claim: &Claim) -> Result<ClaimOutcome, StoreError> {
        let mut tx = self.database.begin(claim.account.as_bytes()).await?;
        let plan = claim.plan.as_bytes();
        let row = sql(concat!(
            "SELECT ",
            state_columns!(),
            ", EXISTS (SELECT 1 FROM sessions WHERE id = $1 OR plan = $2) AS before,
               EXISTS (SELECT 1 FROM suspended WHERE digest = $4) AS suspended,
               (SELECT CAST(coalesce(sum(exposed_bits), 0) AS BIGINT) FROM sessions
                WHERE account = $3 AND outcome IS NULL AND exposed_to <> 0) AS open_bits
             FROM state"
        ))
        .bind(claim.session.as_bytes())
        .bind(plan)
        .bind(claim.account.as_bytes())
        .bind(claim.digest.as_bytes())
        .fetch_one(&mut tx)
        .await?;
        let state = self.opened_state(&row)?;
        if row.get("before")? {
            return Ok(ClaimOutcome::AlreadyClaimed);
        }
        if state.is_set_back() {
            return Ok(ClaimOutcome::SetBack);
        }
        if row.get("suspended")? {
            return Ok(ClaimOutcome::Suspended);
        }
        let known = self.account_state(&mut tx, claim.account).await?;
        if known.active()? != claim.share_set {
            return Ok(ClaimOutcome::Stale);
        }
        let counterparties = check_counterparties(&mut tx, claim, &known, row.get("open_bits")?).await?;
        if let Counterparties::Obstacle(obstacle) = counterparties {
            return Ok(obstacle);
        }
        if !count_session(&mut tx, claim).await? {
            return Ok(ClaimOutcome::OrderIsOver);
        }
        if !count_signatures(&mut tx, claim).await? {
            return Ok(ClaimOutcome::DailyMaximum);
        }
        if claim.exclusive {
            let locked = sql("INSERT INTO locks (account, plan) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(claim.account.as_bytes())
                .bind(plan)
                .execute(&mut tx)
                .await?;
            if locked == 0 {
                // Dropping the transaction takes the count back.
                return Ok(ClaimOutcome::Locked);
            }
        }
        insert_session(&mut tx, claim).await?;
        if !self.use_permits(&mut tx, claim, &known).await? {
            return Ok(ClaimOutcome::Stale);
        }
        if claim.exclusive {
            self.use_lifts(&mut tx, claim, &known).await?;
        }
        // A clock that is wrong by days locks the party out for minutes only, once it is set right.
        let seen = claim.now.min(claim.issued_at + MAX_CLOCK_SKEW);
        if seen > state.latest_seen {
            self.change_state(&mut tx, |state| state.latest_seen = state.latest_seen.max(seen)).await?;
        }
        tx.commit().await?;
        Ok(ClaimOutcome::Claimed { refresh_wanted: counterparties == Counterparties::RefreshWanted })
    }

    /// Records that a session has ended without a promise and will never have one. Frees the account.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it was promised.
    pub async fn abort(&self, plan: PlanHash) -> Result<(), StoreError> {
        let mut tx = self.database.begin(plan.as_bytes()).await?;
        abort_session(&mut tx, plan).await?;
        tx.commit().await
    }

    /// The same as [`Self::abort`], for a signing whose coordinator has given it up before the component was started: it counts
    /// as no session of its order. A peer had no room for it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it was promised.
    pub async fn abort_not_begun(&self, plan: PlanHash) -> Result<(), StoreError> {
        let mut tx = self.database.begin(plan.as_bytes()).await?;
        if abort_session(&mut tx, plan).await? {
            sql("UPDATE orders SET sessions = sessions - 1
                 WHERE sessions > 0 AND id = (SELECT order_id FROM sessions WHERE plan = $1 AND NOT exclusive)")
            .bind(plan.as_bytes())
            .execute(&mut tx)
            .await?;
        }
        tx.commit().await
    }

    /// Records that a session has ended well and that its order has succeeded. A second time it changes nothing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn finish(&self, plan: PlanHash) -> Result<(), StoreError> {
        let mut tx = self.database.begin(plan.as_bytes()).await?;
        match finish_session(&mut tx, plan, FinishedOrder::Again).await {
            Ok(()) => tx.commit().await,
            Err(conflict @ StoreError::Conflict(_)) => match outcome_of(&mut tx, plan).await?.as_deref() {
                Some("finished") => Ok(()),
                _ => Err(conflict),
            },
            Err(error) => Err(error),
        }
    }

    /// Sessions without an outcome whose process is gone: those that a process of this replica's name has claimed,
    /// for the start of the next one, or those of all whose time has long been over. They are to be aborted: this
    /// party never promised anything for them.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn abandoned(
        &self,
        replica: Option<&str>,
        now: UnixMillis,
    ) -> Result<Vec<Started>, StoreError> {
        let rows = sql("SELECT plan, id, order_id, me, digest FROM sessions
             WHERE outcome IS NULL AND (replica = $1 OR deadline < $2)")
        .bind(replica)
        .bind(signed((now - ABANDONMENT_AGE).0)?)
        .fetch_all(&self.database)
        .await?;
        rows.iter().map(started).collect()
    }

    /// Keygens and refreshes whose outcome has not been reported yet.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn unreported(&self) -> Result<Vec<Unreported>, StoreError> {
        let rows = sql(
            "SELECT sessions.plan, sessions.id, order_id, me, digest, sessions.account, state, epoch, ready, data_key, facts,
                    certificate
             FROM sessions LEFT JOIN shares USING (plan)
             WHERE exclusive AND NOT reported AND (outcome = 'aborted' OR state IN ('pending', 'active'))",
        )
        .fetch_all(&self.database)
        .await?;
        let unreported = rows.iter().map(|row| {
            let account = row.read("account", "sessions")?;
            let key = || Ok::<_, StoreError>(self.open_facts(account, row)?.record.key);
            let result = match row.get::<Option<String>>("state")?.as_deref() {
                // A session whose share was erased since has promised: it is not among these rows.
                None => SessionResult::Nothing,
                Some("active") => SessionResult::Share(row.read("certificate", "shares")?, key()?),
                Some(_) => SessionResult::Promise(row.read("ready", "shares")?, key()?),
            };
            Ok(Unreported { started: started(row)?, result })
        });
        unreported.collect()
    }

    /// Marks the outcome of a session so far as reported.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn mark_reported(&self, plan: PlanHash) -> Result<(), StoreError> {
        sql("UPDATE sessions SET reported = TRUE WHERE plan = $1")
            .bind(plan.as_bytes())
            .execute(&self.database)
            .await?;
        Ok(())
    }

    /// Marks the session that made an account's active share to be reported again: its report was lost.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn report_again(&self, account: AccountId) -> Result<(), StoreError> {
        sql("UPDATE sessions SET reported = FALSE
             WHERE plan = (SELECT plan FROM shares WHERE account = $1 AND state = 'active')")
        .bind(account.as_bytes())
        .execute(&self.database)
        .await?;
        Ok(())
    }

    /// Sets the stored time back to `now`, after a clock that was ahead is set right. Orders that may have been seen before are
    /// refused from now on: all that are issued within [`SET_BACK_PERIOD`]. Says whether it was ahead by more than clocks may be
    /// apart; otherwise nothing is changed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn set_time_back(&self, now: UnixSeconds) -> Result<bool, StoreError> {
        let mut tx = self.database.begin(b"").await?;
        let is_set = self
            .change_state(&mut tx, |state| {
                let is_ahead = state.latest_seen > now + MAX_CLOCK_SKEW;
                if is_ahead || state.orders_from > now + SET_BACK_PERIOD {
                    (state.latest_seen, state.orders_from) =
                        (state.latest_seen.min(now), now + SET_BACK_PERIOD);
                }
            })
            .await?;
        tx.commit().await?;
        Ok(is_set)
    }

    /// The latest time that was stored with a claim; 1970 before the first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn latest_seen(&self) -> Result<UnixSeconds, StoreError> {
        Ok(self.state().await?.latest_seen)
    }

    /// Forgets orders and their sessions a day after they have expired, by the latest time that was stored with a
    /// claim: a clock that jumps ahead and back makes no order new again. Promises are never forgotten, and neither
    /// are sessions that have still to be reported.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn forget_expired(&self) -> Result<(), StoreError> {
        let latest_seen = signed(self.latest_seen().await?.0)?;
        // Sessions that still run keep their order: they end first.
        sql("DELETE FROM orders WHERE expires_at < $1
             AND NOT EXISTS (
               SELECT 1 FROM sessions LEFT JOIN shares USING (plan) WHERE order_id = orders.id
               AND (outcome IS NULL OR outcome = 'delivered' OR state IS NOT NULL
                    OR outcome = 'aborted' AND exclusive AND NOT reported))")
        .bind(latest_seen.saturating_sub(ORDER_RETENTION_SECONDS.into()))
        .execute(&self.database)
        .await?;
        forget_days(&self.database, latest_seen).await?;
        sql("DELETE FROM repair_permits WHERE until < $1").bind(latest_seen).execute(&self.database).await?;
        Ok(())
    }

    /// Frees an account whose promises will not be completed. The promised shares stay, for a certificate that
    /// may still turn up; a session that runs keeps its lock. Says whether there was a lock.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn unlock(&self, account: AccountId) -> Result<bool, StoreError> {
        let unlocked = sql("DELETE FROM locks WHERE account = $1
             AND plan NOT IN (SELECT plan FROM sessions WHERE account = $1 AND (outcome IS NULL OR outcome = 'delivered'))");
        Ok(unlocked.bind(account.as_bytes()).execute(&self.database).await? == 1)
    }
}

/// Counts a session for its order; false if the order has had its sessions, or has succeeded. An order that is submitted
/// again is kept for as long as its latest form.
async fn count_session(tx: &mut Tx, claim: &Claim) -> Result<bool, StoreError> {
    let counted = sql("INSERT INTO orders (id, expires_at, sessions) VALUES ($1, $2, 1)
         ON CONFLICT (id) DO UPDATE SET sessions = orders.sessions + 1,
           expires_at = CASE WHEN orders.expires_at < $2 THEN $2 ELSE orders.expires_at END
         WHERE orders.sessions < $3 AND NOT orders.succeeded")
    .bind(claim.order.as_bytes())
    .bind(signed(claim.expires_at.0)?)
    .bind(i64::from(claim.at_most))
    .execute(tx)
    .await?;
    Ok(counted == 1)
}

async fn insert_session(tx: &mut Tx, claim: &Claim) -> Result<(), StoreError> {
    sql("INSERT INTO sessions
         (id, plan, order_id, account, exclusive, me, digest, replica, deadline, share_set, exposed_to,
          exposed_bits)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)")
    .bind(claim.session.as_bytes())
    .bind(claim.plan.as_bytes())
    .bind(claim.order.as_bytes())
    .bind(claim.account.as_bytes())
    .bind(claim.exclusive)
    .bind(claim.me.number())
    .bind(claim.digest.as_bytes())
    .bind(&claim.replica)
    .bind(signed(claim.deadline.0)?)
    .bind(claim.named().map(|plan| plan.as_bytes().to_vec()))
    .bind(exposed_to(claim))
    .bind(exposed_bits(claim))
    .execute(&mut *tx)
    .await
    .map(drop)
}
