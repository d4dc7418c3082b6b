//! The control store on SQLite.

use std::path::Path;

use async_trait::async_trait;
use quorate_core::certificate::{Certificate, KeyOutputs};
use quorate_core::codec::encode;
use quorate_core::{AccountId, OrderId, PartyIndex, SessionId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use super::{begin, decoded, open_pool, signed, unsigned};
use crate::store::StoreError;
use crate::store::control::{
    Account, AccountState, ControlStore, KEY_KEPT, NewSession, RUN_HELD, Run, Running, SESSION_KEPT,
    SessionRecord, SessionStatus,
};

/// The control database.
#[derive(Debug)]
pub struct SqliteControlStore {
    pool: SqlitePool,
}

impl SqliteControlStore {
    /// Opens the file, or makes it, and brings its schema up to date.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        let pool = open_pool(file).await?;
        sqlx::migrate!("../../migrations/control/sqlite").run(&pool).await.map_err(StoreError::Schema)?;
        Ok(Self { pool })
    }

    async fn record(&self, row: Option<SqliteRow>) -> Result<Option<SessionRecord>, StoreError> {
        let Some(row) = row else { return Ok(None) };
        let session = session(&row)?;
        let reports = sqlx::query("SELECT report FROM reports WHERE session = ? ORDER BY party")
            .bind(session.id.as_bytes().as_slice())
            .fetch_all(&self.pool)
            .await?;
        let reports = reports.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        Ok(Some(SessionRecord { session, status: status(&row)?, reports }))
    }
}

fn account(row: &SqliteRow, open: Vec<OrderId>) -> Result<Account, StoreError> {
    let state = match row.try_get("state")? {
        "creating" => AccountState::Creating,
        "failed" => AccountState::Failed,
        _ => AccountState::Active {
            certificate: decoded(row.try_get("certificate")?, "accounts")?,
            key: decoded(row.try_get("outputs")?, "accounts")?,
        },
    };
    Ok(Account {
        id: decoded(row.try_get("id")?, "accounts")?,
        user_id: row.try_get("user_id")?,
        state,
        scheme: row.try_get("scheme")?,
        protocol: row.try_get("protocol")?,
        threshold: decoded(row.try_get("threshold")?, "accounts")?,
        parties: decoded(row.try_get("parties")?, "accounts")?,
        open,
        created: unsigned(row.try_get("created")?)?,
    })
}

fn session(row: &SqliteRow) -> Result<NewSession, StoreError> {
    Ok(NewSession {
        id: decoded(row.try_get("id")?, "sessions")?,
        order: decoded(row.try_get("order_id")?, "sessions")?,
        account: decoded(row.try_get("account")?, "sessions")?,
        ordered: row.try_get("ordered")?,
        signers: decoded(row.try_get("signers")?, "sessions")?,
        chain_code: row
            .try_get::<Option<&[u8]>, _>("chain_code")?
            .map(|code| decoded(code, "sessions"))
            .transpose()?,
        digest: decoded(row.try_get("digest")?, "sessions")?,
        created: unsigned(row.try_get("created")?)?,
        deadline: unsigned(row.try_get("deadline")?)?,
    })
}

fn status(row: &SqliteRow) -> Result<SessionStatus, StoreError> {
    let at = || unsigned(row.try_get("ended")?);
    Ok(match row.try_get("status")? {
        "running" => SessionStatus::Running,
        "completed" => SessionStatus::Completed { at: at()? },
        _ => SessionStatus::Failed {
            at: at()?,
            code: row.try_get("code")?,
            reason: row.try_get("reason")?,
            culprits: decoded(row.try_get("culprits")?, "sessions")?,
        },
    })
}

fn ours(result: &sqlx::sqlite::SqliteQueryResult) -> Result<(), StoreError> {
    if result.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Conflict("the run is somebody else's")) }
}

const OPEN_ORDER: &str = "INSERT INTO open_orders (account, order_id) VALUES (?, ?) ON CONFLICT DO NOTHING";

#[async_trait]
impl ControlStore for SqliteControlStore {
    async fn create_account(&self, account: &Account) -> Result<(), StoreError> {
        let mut tx = begin(&self.pool).await?;
        sqlx::query(
            "INSERT INTO accounts (id, user_id, state, scheme, protocol, threshold, parties, created)
             VALUES (?, ?, 'creating', ?, ?, ?, ?, ?)",
        )
        .bind(account.id.as_bytes().as_slice())
        .bind(&account.user_id)
        .bind(&account.scheme)
        .bind(&account.protocol)
        .bind(encode(&account.threshold))
        .bind(encode(&account.parties))
        .bind(signed(account.created)?)
        .execute(&mut *tx)
        .await?;
        for order in &account.open {
            sqlx::query(OPEN_ORDER)
                .bind(account.id.as_bytes().as_slice())
                .bind(order.as_bytes().as_slice())
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }

    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query("SELECT * FROM accounts WHERE id = ?")
            .bind(id.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let open = sqlx::query("SELECT order_id FROM open_orders WHERE account = ? ORDER BY rowid")
            .bind(id.as_bytes().as_slice())
            .fetch_all(&self.pool)
            .await?;
        let open = open.iter().map(|row| decoded(row.try_get(0)?, "open_orders"));
        account(&row, open.collect::<Result<_, StoreError>>()?).map(Some)
    }

    async fn open_order(&self, id: AccountId, order: OrderId) -> Result<(), StoreError> {
        sqlx::query(OPEN_ORDER)
            .bind(id.as_bytes().as_slice())
            .bind(order.as_bytes().as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn close_order(&self, id: AccountId, order: OrderId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM open_orders WHERE account = ? AND order_id = ?")
            .bind(id.as_bytes().as_slice())
            .bind(order.as_bytes().as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn activate_account(&self, certificate: &Certificate, key: &KeyOutputs) -> Result<(), StoreError> {
        let activation = &certificate.activation;
        let mut tx = begin(&self.pool).await?;
        let id = activation.account.as_bytes().as_slice();
        let there = sqlx::query("SELECT 1 FROM accounts WHERE id = ?").bind(id);
        if there.fetch_optional(&mut *tx).await?.is_none() {
            return Err(StoreError::Conflict("there is no such account"));
        }
        let activated = sqlx::query(
            "UPDATE accounts SET state = 'active', epoch = ?, certificate = ?, outputs = ?
             WHERE id = ? AND epoch < ?",
        )
        .bind(activation.epoch)
        .bind(encode(certificate))
        .bind(encode(key))
        .bind(id)
        .bind(activation.epoch)
        .execute(&mut *tx)
        .await?;
        if activated.rows_affected() == 1 {
            sqlx::query("DELETE FROM open_orders WHERE account = ?").bind(id).execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn fail_account(&self, id: AccountId) -> Result<(), StoreError> {
        sqlx::query("UPDATE accounts SET state = 'failed' WHERE id = ? AND state = 'creating'")
            .bind(id.as_bytes().as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn record_session(&self, session: &NewSession) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO sessions
             (id, order_id, account, ordered, signers, chain_code, digest, created, deadline, status)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'running')",
        )
        .bind(session.id.as_bytes().as_slice())
        .bind(session.order.as_bytes().as_slice())
        .bind(session.account.as_bytes().as_slice())
        .bind(session.ordered.as_slice())
        .bind(encode(&session.signers))
        .bind(session.chain_code.map(|code| code.to_vec()))
        .bind(session.digest.as_bytes().as_slice())
        .bind(signed(session.created)?)
        .bind(signed(session.deadline)?)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn add_report(
        &self,
        id: SessionId,
        by: PartyIndex,
        report: &[u8],
        completed: Option<u64>,
    ) -> Result<(), StoreError> {
        let mut tx = begin(&self.pool).await?;
        let added = sqlx::query(
            "INSERT INTO reports (session, party, report) SELECT id, ?, ? FROM sessions WHERE id = ?
             ON CONFLICT (session, party) DO UPDATE SET report = excluded.report",
        )
        .bind(by.number())
        .bind(report)
        .bind(id.as_bytes().as_slice())
        .execute(&mut *tx)
        .await?;
        if added.rows_affected() != 1 {
            return Err(StoreError::Conflict("there is no such session"));
        }
        if let Some(at) = completed {
            let ended = "UPDATE sessions SET status = 'completed', ended = ?, code = NULL, reason = NULL, culprits = NULL
                         WHERE id = ? AND status <> 'completed'";
            sqlx::query(ended).bind(signed(at)?).bind(id.as_bytes().as_slice()).execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn end_session(&self, id: SessionId, status: &SessionStatus) -> Result<(), StoreError> {
        let (name, at, failure) = match status {
            SessionStatus::Running => return Err(StoreError::Conflict("a session does not end by running")),
            SessionStatus::Completed { at } => ("completed", at, None),
            SessionStatus::Failed { at, code, reason, culprits } => {
                ("failed", at, Some((code, reason, culprits)))
            }
        };
        sqlx::query(
            "UPDATE sessions SET status = ?1, ended = ?2, code = ?3, reason = ?4, culprits = ?5
             WHERE id = ?6 AND (status = 'running' OR status = 'failed' AND ?1 = 'completed')",
        )
        .bind(name)
        .bind(signed(*at)?)
        .bind(failure.map(|f| f.0))
        .bind(failure.map(|f| f.1))
        .bind(failure.map(|f| encode(f.2)))
        .bind(id.as_bytes().as_slice())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn session(&self, id: SessionId) -> Result<Option<SessionRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM sessions WHERE id = ?")
            .bind(id.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await?;
        self.record(row).await
    }

    async fn session_of(&self, order: OrderId) -> Result<Option<SessionRecord>, StoreError> {
        let row = sqlx::query(
            "SELECT * FROM sessions WHERE order_id = ?
             ORDER BY status = 'completed' DESC, created DESC, rowid DESC LIMIT 1",
        )
        .bind(order.as_bytes().as_slice())
        .fetch_optional(&self.pool)
        .await?;
        self.record(row).await
    }

    async fn end_overdue(&self, now: u64) -> Result<u64, StoreError> {
        let ended = sqlx::query(
            "UPDATE sessions SET status = 'failed', ended = deadline, code = 'deadline_passed',
                                 reason = 'the deadline passed and no party has reported a result', culprits = ?
             WHERE status = 'running' AND deadline < ?",
        )
        .bind(encode(&Vec::<PartyIndex>::new()))
        .bind(signed(now)?)
        .execute(&self.pool)
        .await?;
        Ok(ended.rows_affected())
    }

    async fn end_interrupted(&self, now: u64) -> Result<u64, StoreError> {
        let ended = sqlx::query(
            "UPDATE sessions SET status = 'failed', ended = ?, code = 'unavailable',
                                 reason = 'the process was restarted in the middle of the session', culprits = ?
             WHERE status = 'running'",
        )
        .bind(signed(now)?)
        .bind(encode(&Vec::<PartyIndex>::new()))
        .execute(&self.pool)
        .await?;
        Ok(ended.rows_affected())
    }

    async fn begin_run(&self, run: &Run, now: u64) -> Result<Running, StoreError> {
        let mut tx = begin(&self.pool).await?;
        let row = sqlx::query(
            "SELECT request, subject, held_until, status, answer FROM idempotency
             WHERE caller = ? AND name = ? AND started >= ?",
        )
        .bind(&run.key.caller)
        .bind(&run.key.name)
        .bind(signed(now.saturating_sub(KEY_KEPT))?)
        .fetch_optional(&mut *tx)
        .await?;
        let mut earlier = None;
        if let Some(row) = row {
            if row.try_get::<&[u8], _>("request")? != run.request {
                return Ok(Running::Differs);
            }
            if let Some(status) = row.try_get::<Option<u16>, _>("status")? {
                return Ok(Running::Over { status, answer: row.try_get("answer")? });
            }
            if unsigned(row.try_get("held_until")?)? >= now {
                return Ok(Running::Another);
            }
            earlier = Some(row.try_get::<Vec<u8>, _>("subject")?);
        }
        sqlx::query(
            "INSERT INTO idempotency (caller, name, request, subject, runner, started, held_until)
             VALUES (?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (caller, name) DO UPDATE SET
               request = excluded.request, subject = excluded.subject, runner = excluded.runner,
               started = excluded.started, held_until = excluded.held_until, status = NULL, answer = NULL",
        )
        .bind(&run.key.caller)
        .bind(&run.key.name)
        .bind(run.request.as_slice())
        .bind(earlier.as_deref().unwrap_or(&run.subject))
        .bind(run.runner.as_slice())
        .bind(signed(now)?)
        .bind(signed(now.saturating_add(RUN_HELD))?)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Running::Ours { earlier })
    }

    async fn turn_run(&self, run: &Run) -> Result<(), StoreError> {
        let turned = sqlx::query(
            "UPDATE idempotency SET subject = ? WHERE caller = ? AND name = ? AND runner = ? AND status IS NULL",
        )
        .bind(run.subject.as_slice())
        .bind(&run.key.caller)
        .bind(&run.key.name)
        .bind(run.runner.as_slice())
        .execute(&self.pool)
        .await?;
        ours(&turned)
    }

    async fn finish_run(&self, run: &Run, status: u16, answer: &str) -> Result<(), StoreError> {
        let finished = sqlx::query(
            "UPDATE idempotency SET status = ?, answer = ?
             WHERE caller = ? AND name = ? AND runner = ? AND status IS NULL",
        )
        .bind(status)
        .bind(answer)
        .bind(&run.key.caller)
        .bind(&run.key.name)
        .bind(run.runner.as_slice())
        .execute(&self.pool)
        .await?;
        ours(&finished)
    }

    async fn give_up_run(&self, run: &Run) -> Result<(), StoreError> {
        let given_up = sqlx::query(
            "UPDATE idempotency SET held_until = 0
             WHERE caller = ? AND name = ? AND runner = ? AND status IS NULL",
        )
        .bind(&run.key.caller)
        .bind(&run.key.name)
        .bind(run.runner.as_slice())
        .execute(&self.pool)
        .await?;
        ours(&given_up)
    }

    async fn give_up_all_runs(&self) -> Result<(), StoreError> {
        sqlx::query("UPDATE idempotency SET held_until = 0 WHERE status IS NULL").execute(&self.pool).await?;
        Ok(())
    }

    async fn forget_old(&self, now: u64) -> Result<(), StoreError> {
        let mut tx = begin(&self.pool).await?;
        sqlx::query("DELETE FROM idempotency WHERE started < ?")
            .bind(signed(now.saturating_sub(KEY_KEPT))?)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM sessions WHERE created < ? AND status <> 'running'")
            .bind(signed(now.saturating_sub(SESSION_KEPT))?)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use crate::store::SqliteControlStore;
    use crate::store::conformance;

    async fn fresh() -> (SqliteControlStore, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (SqliteControlStore::open(&folder.path().join("control.db")).await.unwrap(), folder)
    }

    conformance::control::suite!(fresh());
}
