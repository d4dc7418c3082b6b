//! Sessions, their plans on the way to the queue, and what parties reported.

use std::time::Duration;

use quorate_backends::database::{Database, Row, StoreError, decoded, signed, sql};
use quorate_core::codec::encode;
use quorate_core::{AccountId, Digest, OrderId, PartyIndex, SessionId, UnixMillis};

use super::COORDINATOR_SCHEMA;

/// How long sessions and reports are kept: 30 days, for callers that ask late.
pub const SESSION_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A session to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// Its order.
    pub order: OrderId,
    /// Which session of its order it is, from 1 on. A keygen or refresh has one.
    pub attempt: u32,
    /// The account.
    pub account: AccountId,
    /// The signed order, as bytes.
    pub ordered: Vec<u8>,
    /// The parties of the session.
    pub signers: Vec<PartyIndex>,
    /// The chain code of the account's key, where it has one.
    pub chain_code: Option<[u8; 32]>,
    /// The component.
    pub digest: Digest,
    /// When it was made.
    pub created: UnixMillis,
    /// When it ends.
    pub deadline: UnixMillis,
}

/// Whether a session was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordOutcome {
    /// It is.
    Recorded,
    /// Another coordinator has recorded this attempt at the order.
    AttemptTaken,
}

/// The record of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// As it was recorded.
    pub session: NewSession,
    /// How far it is.
    pub status: SessionStatus,
    /// Whether its coordinator makes no other session for the order after it.
    pub is_final: bool,
    /// The reports of its parties, in index order.
    pub reports: Vec<Vec<u8>>,
}

/// How far a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionStatus {
    /// It has no result yet.
    Running,
    /// It has a result.
    Completed {
        /// In milliseconds since 1970.
        at: UnixMillis,
    },
    /// It has ended without one.
    Failed {
        /// In milliseconds since 1970.
        at: UnixMillis,
        /// A stable code.
        code: String,
        /// For people.
        reason: String,
        /// The parties that are held responsible.
        culprits: Vec<PartyIndex>,
    },
}

/// The durable state of the coordinator: sessions, plans on their way to the queue, reports. Clones share the database.
#[derive(Clone, Debug)]
pub struct SessionStore {
    pub(crate) database: Database,
}

impl SessionStore {
    /// Brings the schema of a database up to date.
    ///
    /// # Errors
    /// See [`StoreError`]; the same holds for all methods.
    pub async fn open(database: Database) -> Result<Self, StoreError> {
        database.migrate(&COORDINATOR_SCHEMA).await?;
        Ok(Self { database })
    }

    /// Records a session together with its plan, as it is to be published: see [`SessionStore::unpublished`].
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn record_session(
        &self,
        session: &NewSession,
        plan: &[u8],
    ) -> Result<RecordOutcome, StoreError> {
        let mut tx = self.database.begin(session.id.as_bytes()).await?;
        let recorded = sql("INSERT INTO sessions
             (id, order_id, account, ordered, signers, chain_code, digest, created, deadline, attempt, status)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'running')
             ON CONFLICT (order_id, attempt) DO NOTHING")
        .bind(session.id.as_bytes())
        .bind(session.order.as_bytes())
        .bind(session.account.as_bytes())
        .bind(session.ordered.as_slice())
        .bind(encode(&session.signers))
        .bind(session.chain_code.map(|code| code.to_vec()))
        .bind(session.digest.as_bytes())
        .bind(signed(session.created.0)?)
        .bind(signed(session.deadline.0)?)
        .bind(session.attempt)
        .execute(&mut tx)
        .await?;
        if recorded == 0 {
            return Ok(RecordOutcome::AttemptTaken);
        }
        sql("INSERT INTO outbox (session, plan) VALUES ($1, $2)")
            .bind(session.id.as_bytes())
            .bind(plan)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(RecordOutcome::Recorded)
    }

    /// Removes the plan of a session from the outbox.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn mark_published(&self, id: SessionId) -> Result<(), StoreError> {
        sql("DELETE FROM outbox WHERE session = $1")
            .bind(id.as_bytes())
            .execute(&self.database)
            .await
            .map(drop)
    }

    /// Plans of running sessions that were recorded before `before` and are not published yet: the coordinator that
    /// recorded them is gone, or slow. Publishing a plan twice does no harm: a party claims its session once.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn unpublished(&self, before: UnixMillis, now: UnixMillis) -> Result<Vec<Vec<u8>>, StoreError> {
        let rows = sql("SELECT plan FROM outbox JOIN sessions ON sessions.id = outbox.session
             WHERE status = 'running' AND created < $1 AND deadline > $2 ORDER BY created LIMIT 100")
        .bind(signed(before.0)?)
        .bind(signed(now.0)?)
        .fetch_all(&self.database)
        .await?;
        rows.iter().map(|row| row.get("plan")).collect()
    }

    /// Stores a party's report, unless the stored one has a higher rank. With `completed`, the session ends at that
    /// time.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is no such session.
    pub async fn add_report(
        &self,
        id: SessionId,
        by: PartyIndex,
        report: &[u8],
        rank: u16,
        completed: Option<UnixMillis>,
    ) -> Result<(), StoreError> {
        let mut tx = self.database.begin(id.as_bytes()).await?;
        let added =
            sql("INSERT INTO reports (session, party, report, rank) SELECT id, $1, $2, $3 FROM sessions WHERE id = $4
             ON CONFLICT (session, party) DO UPDATE SET report = excluded.report, rank = excluded.rank
             WHERE reports.rank <= excluded.rank")
            .bind(by.number())
            .bind(report)
            .bind(rank)
            .bind(id.as_bytes())
            .execute(&mut tx)
            .await?;
        if added != 1 {
            let there = sql("SELECT 1 FROM sessions WHERE id = $1").bind(id.as_bytes());
            return match there.fetch_optional(&mut tx).await? {
                // Another coordinator has kept something that says more.
                Some(_) => Ok(()),
                None => Err(StoreError::Conflict("there is no such session")),
            };
        }
        if let Some(at) = completed {
            let ended = "UPDATE sessions SET status = 'completed', ended = $1, code = NULL, reason = NULL, culprits = NULL
                         WHERE id = $2 AND status <> 'completed'";
            sql(ended).bind(signed(at.0)?).bind(id.as_bytes()).execute(&mut tx).await?;
        }
        tx.commit().await
    }

    /// Ends a session. One that has completed stays so; one that has failed can still complete.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn end_session(&self, id: SessionId, status: &SessionStatus) -> Result<(), StoreError> {
        let (name, at, failure) = match status {
            SessionStatus::Running => return Err(StoreError::Conflict("a session does not end by running")),
            SessionStatus::Completed { at } => ("completed", at, None),
            SessionStatus::Failed { at, code, reason, culprits } => {
                ("failed", at, Some((code, reason, culprits)))
            }
        };
        sql("UPDATE sessions SET status = $1, ended = $2, code = $3, reason = $4, culprits = $5
             WHERE id = $6 AND (status = 'running' OR status = 'failed' AND CAST($1 AS TEXT) = 'completed')")
        .bind(name)
        .bind(signed(at.0)?)
        .bind(failure.map(|f| f.0))
        .bind(failure.map(|f| f.1))
        .bind(failure.map(|f| encode(f.2)))
        .bind(id.as_bytes())
        .execute(&self.database)
        .await?;
        Ok(())
    }

    /// Marks a session as the last of its order: its coordinator makes none after it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn mark_final(&self, session: SessionId) -> Result<(), StoreError> {
        let last = sql("UPDATE sessions SET is_final = TRUE WHERE id = $1").bind(session.as_bytes());
        last.execute(&self.database).await.map(drop)
    }

    /// A session.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn session(&self, id: SessionId) -> Result<Option<SessionRecord>, StoreError> {
        let row = sql("SELECT * FROM sessions WHERE id = $1")
            .bind(id.as_bytes())
            .fetch_optional(&self.database)
            .await?;
        match row {
            Some(row) => self.record(&row).await.map(Some),
            None => Ok(None),
        }
    }

    /// The sessions of an order, of which there are a few at most: those that have completed first, then the latest
    /// first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn sessions_of(&self, order: OrderId) -> Result<Vec<SessionRecord>, StoreError> {
        let rows = sql("SELECT * FROM sessions WHERE order_id = $1
             ORDER BY status = 'completed' DESC, created DESC, number DESC LIMIT 16")
        .bind(order.as_bytes())
        .fetch_all(&self.database)
        .await?;
        let mut records = Vec::new();
        for row in rows {
            records.push(self.record(&row).await?);
        }
        Ok(records)
    }

    /// Ends as failed, with the code `deadline_passed`, every running session whose deadline passed before `now` (in
    /// milliseconds since 1970). Says how many there were.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn end_overdue(&self, now: UnixMillis) -> Result<u64, StoreError> {
        let ended = sql(
            "UPDATE sessions SET status = 'failed', ended = deadline, code = 'deadline_passed',
                                 reason = 'the deadline passed and no party has reported a result', culprits = $1
             WHERE status = 'running' AND deadline < $2",
        )
        .bind(encode(&Vec::<PartyIndex>::new()))
        .bind(signed(now.0)?)
        .execute(&self.database)
        .await?;
        Ok(ended)
    }

    /// Ends as failed, with the code `unavailable`, all sessions that are running: for the start of the only process
    /// that there is, whose parties have said what they know.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn end_interrupted(&self, now: UnixMillis) -> Result<u64, StoreError> {
        let ended = sql(
            "UPDATE sessions SET status = 'failed', ended = $1, code = 'unavailable', is_final = TRUE,
                                 reason = 'the process was restarted in the middle of the session', culprits = $2
             WHERE status = 'running'",
        )
        .bind(signed(now.0)?)
        .bind(encode(&Vec::<PartyIndex>::new()))
        .execute(&self.database)
        .await?;
        Ok(ended)
    }

    /// Forgets sessions that are older than [`SESSION_RETENTION`].
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn forget_old_sessions(&self, now: UnixMillis) -> Result<(), StoreError> {
        let mut tx = self.database.begin(b"forget old sessions").await?;
        sql("DELETE FROM outbox WHERE session IN (SELECT id FROM sessions WHERE status <> 'running')")
            .execute(&mut tx)
            .await?;
        sql("DELETE FROM sessions WHERE created < $1 AND status <> 'running'")
            .bind(signed((now - SESSION_RETENTION).0)?)
            .execute(&mut tx)
            .await?;
        tx.commit().await
    }
}

impl SessionStore {
    async fn record(&self, row: &Row) -> Result<SessionRecord, StoreError> {
        let session = session(row)?;
        let reports = sql("SELECT report FROM reports WHERE session = $1 ORDER BY party")
            .bind(session.id.as_bytes())
            .fetch_all(&self.database)
            .await?;
        let reports = reports.iter().map(|row| row.get("report")).collect::<Result<_, _>>()?;
        Ok(SessionRecord { session, status: status(row)?, is_final: row.get("is_final")?, reports })
    }
}

fn session(row: &Row) -> Result<NewSession, StoreError> {
    Ok(NewSession {
        id: row.read("id", "sessions")?,
        order: row.read("order_id", "sessions")?,
        attempt: row.get("attempt")?,
        account: row.read("account", "sessions")?,
        ordered: row.get("ordered")?,
        signers: row.read("signers", "sessions")?,
        chain_code: row
            .get::<Option<Vec<u8>>>("chain_code")?
            .map(|code| decoded(&code, "sessions"))
            .transpose()?,
        digest: row.read("digest", "sessions")?,
        created: UnixMillis(row.get("created")?),
        deadline: UnixMillis(row.get("deadline")?),
    })
}

fn status(row: &Row) -> Result<SessionStatus, StoreError> {
    let at = || row.get("ended").map(UnixMillis);
    Ok(match row.get::<String>("status")?.as_str() {
        "running" => SessionStatus::Running,
        "completed" => SessionStatus::Completed { at: at()? },
        _ => SessionStatus::Failed {
            at: at()?,
            code: row.get("code")?,
            reason: row.get("reason")?,
            culprits: row.read("culprits", "sessions")?,
        },
    })
}
