//! Transitions of a row of `sessions` that several modules share.

use quorate_backends::database::{Row, StoreError, Tx, sql};
use quorate_core::{PartyIndex, PlanHash};

use super::Started;

/// The session of a row.
pub(super) fn started(row: &Row) -> Result<Started, StoreError> {
    let me: u16 = row.get("me")?;
    Ok(Started {
        plan: row.read("plan", "sessions")?,
        session: row.read("id", "sessions")?,
        order: row.read("order_id", "sessions")?,
        me: PartyIndex::try_from(me).map_err(|_| StoreError::Malformed("sessions"))?,
        digest: row.read("digest", "sessions")?,
    })
}

/// Ends a running session; false when it does not run.
pub(super) async fn end(tx: &mut Tx, plan: PlanHash, outcome: &str) -> Result<bool, StoreError> {
    let ended = sql("UPDATE sessions SET outcome = $1 WHERE plan = $2 AND outcome IS NULL")
        .bind(outcome)
        .bind(plan.as_bytes())
        .execute(&mut *tx)
        .await?;
    Ok(ended == 1)
}

/// Whether another session of the order may have ended well before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FinishedOrder {
    /// It may: all of them give the same.
    Again,
    /// It may not: each makes something of its own.
    OnlyOnce,
}

/// Ends a running session well, and its order with it.
///
/// # Errors
/// [`StoreError::Conflict`] when it does not run, or its order has ended well before and may not do so twice.
pub(super) async fn finish_session(
    tx: &mut Tx,
    plan: PlanHash,
    order: FinishedOrder,
) -> Result<(), StoreError> {
    if !end(tx, plan, "finished").await? {
        return Err(StoreError::Conflict("only a running session can finish"));
    }
    let finished = sql("UPDATE orders SET succeeded = TRUE
         WHERE id = (SELECT order_id FROM sessions WHERE plan = $1) AND (NOT succeeded OR $2)")
    .bind(plan.as_bytes())
    .bind(order == FinishedOrder::Again)
    .execute(tx)
    .await?;
    if finished == 0 && order == FinishedOrder::OnlyOnce {
        return Err(StoreError::Conflict("another session of the order was faster"));
    }
    Ok(())
}

/// Ends a session without a promise and frees the account; false if that was recorded before.
///
/// # Errors
/// [`StoreError::Conflict`] when it has a result.
pub(super) async fn abort_session(tx: &mut Tx, plan: PlanHash) -> Result<bool, StoreError> {
    let ran = end(tx, plan, "aborted").await?;
    if !ran && outcome_of(tx, plan).await?.as_deref() != Some("aborted") {
        return Err(StoreError::Conflict("only a running session can be aborted"));
    }
    unlock(tx, plan).await?;
    Ok(ran)
}

pub(super) async fn unlock(tx: &mut Tx, plan: PlanHash) -> Result<(), StoreError> {
    let unlock = sql("DELETE FROM locks WHERE plan = $1").bind(plan.as_bytes());
    unlock.execute(&mut *tx).await?;
    Ok(())
}

/// The outcome of a session; `None` while it runs, and if it is not there.
pub(super) async fn outcome_of(tx: &mut Tx, plan: PlanHash) -> Result<Option<String>, StoreError> {
    let row = sql("SELECT outcome FROM sessions WHERE plan = $1")
        .bind(plan.as_bytes())
        .fetch_optional(&mut *tx)
        .await?;
    row.map_or(Ok(None), |row| row.get("outcome"))
}

/// The share set that a session is about.
pub(super) async fn share_set_of(tx: &mut Tx, plan: PlanHash) -> Result<Option<PlanHash>, StoreError> {
    let row = sql("SELECT share_set FROM sessions WHERE plan = $1").bind(plan.as_bytes());
    let Some(row) = row.fetch_optional(&mut *tx).await? else { return Ok(None) };
    let share_set: Option<Vec<u8>> = row.get("share_set")?;
    share_set.map(|_| row.read("share_set", "sessions")).transpose()
}
