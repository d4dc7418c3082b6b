//! How many signatures are made with an account in a day, for an operator who has set a maximum. Each party counts for itself:
//! neither the account service nor a coordinator can raise it.

use quorate_backends::database::{Database, StoreError, Tx, signed, sql};
use quorate_core::UnixSeconds;

use super::Claim;

/// Seconds of a day.
const SECONDS_OF_DAY: i64 = 86_400;

/// Counts the signatures of an order for its account's day, once for all sessions of the order; false if there are too many.
/// Without a maximum nothing is counted.
pub(super) async fn count_signatures(tx: &mut Tx, claim: &Claim) -> Result<bool, StoreError> {
    let Some(at_most) = claim.signatures_per_day.filter(|_| claim.signatures > 0) else { return Ok(true) };
    let first = sql("UPDATE orders SET counted = TRUE WHERE id = $1 AND NOT counted")
        .bind(claim.order.as_bytes())
        .execute(&mut *tx)
        .await?;
    if first == 0 {
        return Ok(true);
    }
    let counted = sql("INSERT INTO daily_signatures (account, day, signatures)
         SELECT $1, $2, $3 WHERE $3 <= $4
         ON CONFLICT (account, day) DO UPDATE SET signatures = daily_signatures.signatures + $3
         WHERE daily_signatures.signatures + $3 <= $4")
    .bind(claim.account.as_bytes())
    .bind(day_of(claim.now)?)
    .bind(i64::from(claim.signatures))
    .bind(i64::from(at_most.get()))
    .execute(tx)
    .await?;
    // Dropping the transaction takes all counts back.
    Ok(counted == 1)
}

/// The number of a day since 1970 (UTC).
fn day_of(time: UnixSeconds) -> Result<i64, StoreError> {
    Ok(signed(time.0)? / SECONDS_OF_DAY)
}

/// Forgets the counts of days that are over. The day before may not be over for a clock that is a little behind.
pub(super) async fn forget_days(database: &Database, latest_seen: i64) -> Result<(), StoreError> {
    let day_before = latest_seen / SECONDS_OF_DAY - 1;
    sql("DELETE FROM daily_signatures WHERE day < $1").bind(day_before).execute(database).await.map(drop)
}
