//! Runs of requests that carry an idempotency key: one at a time, taken over when whoever runs it is gone.

use super::{ControlStore, KEY_KEPT, RUN_HELD, Run, Running};
use crate::store::database::sql;
use crate::store::{StoreError, signed};

impl ControlStore {
    /// Begins the run of a request, or says what became of it; `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn begin_run(&self, run: &Run, now: u64) -> Result<Running, StoreError> {
        let mut tx = self.database.begin(format!("{}/{}", run.key.caller, run.key.name).as_bytes()).await?;
        let row = sql("SELECT request, subject, held_until, status, answer FROM idempotency
             WHERE caller = $1 AND name = $2 AND started >= $3")
        .bind(&run.key.caller)
        .bind(&run.key.name)
        .bind(signed(now.saturating_sub(KEY_KEPT))?)
        .fetch_optional(&mut tx)
        .await?;
        let mut earlier = None;
        if let Some(row) = row {
            if row.get::<Vec<u8>>("request")? != run.request {
                return Ok(Running::Differs);
            }
            if let Some(status) = row.get::<Option<u16>>("status")? {
                return Ok(Running::Over { status, answer: row.get("answer")? });
            }
            if row.get::<u64>("held_until")? >= now {
                return Ok(Running::Another);
            }
            earlier = Some(row.get::<Vec<u8>>("subject")?);
        }
        sql("INSERT INTO idempotency (caller, name, request, subject, runner, started, held_until)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (caller, name) DO UPDATE SET
               request = excluded.request, subject = excluded.subject, runner = excluded.runner,
               started = excluded.started, held_until = excluded.held_until, status = NULL, answer = NULL")
        .bind(&run.key.caller)
        .bind(&run.key.name)
        .bind(run.request.as_slice())
        .bind(earlier.as_deref().unwrap_or(&run.subject))
        .bind(run.runner.as_slice())
        .bind(signed(now)?)
        .bind(signed(now.saturating_add(RUN_HELD))?)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(Running::Ours { earlier })
    }

    /// Whoever runs it is still there: nobody takes it over for another [`RUN_HELD`].
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the run is not ours any more; the same holds for the next methods.
    pub async fn hold_run(&self, run: &Run, now: u64) -> Result<(), StoreError> {
        let held = sql(
            "UPDATE idempotency SET held_until = $1 WHERE caller = $2 AND name = $3 AND runner = $4 AND status IS NULL",
        )
        .bind(signed(now.saturating_add(RUN_HELD))?)
        .bind(&run.key.caller)
        .bind(&run.key.name)
        .bind(run.runner.as_slice())
        .execute(&self.database)
        .await?;
        ours(held)
    }

    /// The run turns to something else: what it was about before came to nothing.
    ///
    /// # Errors
    /// See [`ControlStore::hold_run`].
    pub async fn turn_run(&self, run: &Run) -> Result<(), StoreError> {
        let turned = sql(
            "UPDATE idempotency SET subject = $1 WHERE caller = $2 AND name = $3 AND runner = $4 AND status IS NULL",
        )
        .bind(run.subject.as_slice())
        .bind(&run.key.caller)
        .bind(&run.key.name)
        .bind(run.runner.as_slice())
        .execute(&self.database)
        .await?;
        ours(turned)
    }

    /// The run is over: this is its answer, for everybody who asks.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn finish_run(&self, run: &Run, status: u16, answer: &str) -> Result<(), StoreError> {
        let finished = sql("UPDATE idempotency SET status = $1, answer = $2
             WHERE caller = $3 AND name = $4 AND runner = $5 AND status IS NULL")
        .bind(status)
        .bind(answer)
        .bind(&run.key.caller)
        .bind(&run.key.name)
        .bind(run.runner.as_slice())
        .execute(&self.database)
        .await?;
        ours(finished)
    }

    /// The run has no answer that should be kept: whoever asks next runs it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn give_up_run(&self, run: &Run) -> Result<(), StoreError> {
        let given_up = sql("UPDATE idempotency SET held_until = 0
             WHERE caller = $1 AND name = $2 AND runner = $3 AND status IS NULL")
        .bind(&run.key.caller)
        .bind(&run.key.name)
        .bind(run.runner.as_slice())
        .execute(&self.database)
        .await?;
        ours(given_up)
    }

    /// Gives up all runs without an answer: for the start of the only process that there is.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn give_up_all_runs(&self) -> Result<(), StoreError> {
        sql("UPDATE idempotency SET held_until = 0 WHERE status IS NULL").execute(&self.database).await?;
        Ok(())
    }
}

fn ours(changed: u64) -> Result<(), StoreError> {
    if changed == 1 { Ok(()) } else { Err(StoreError::Conflict("the run is somebody else's")) }
}
