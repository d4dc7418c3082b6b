//! Plans for new shares that this party refuses for good.

use quorate_backends::database::{StoreError, signed, sql};
use quorate_core::{AccountId, Digest, OrderId, PartyIndex, PlanHash, SessionId, UnixMillis, UnixSeconds};

use super::PartyStore;

/// How many sessions of one order are recorded at most, those included that were refused.
const MAX_RECORDED_SESSIONS: u32 = 16;

/// A plan for new shares that is refused for good.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The session.
    pub session: SessionId,
    /// The plan.
    pub plan: PlanHash,
    /// Its order.
    pub order: OrderId,
    /// When the order expires.
    pub expires_at: UnixSeconds,
    /// The account.
    pub account: AccountId,
    /// This party's index in it.
    pub me: PartyIndex,
    /// The component that it names.
    pub digest: Digest,
    /// The name of the replica that refuses it.
    pub replica: String,
    /// When the session would have ended.
    pub deadline: UnixMillis,
}

/// Whether a refusal is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalOutcome {
    /// It is: this party never takes the plan on.
    Recorded,
    /// The session or the plan was claimed or refused before.
    KnownBefore,
    /// As many sessions of the order are recorded as may be.
    TooMany,
}

impl PartyStore {
    /// Records that this party never takes a plan for new shares on. It may say so only then: a claim and a refusal of one plan,
    /// or of two plans of one session, exclude each other over all replicas.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn refuse(&self, refusal: &Refusal) -> Result<RefusalOutcome, StoreError> {
        let mut tx = self.database.begin(refusal.account.as_bytes()).await?;
        let row = sql("SELECT EXISTS (SELECT 1 FROM sessions WHERE id = $1 OR plan = $2) AS before,
               (SELECT count(*) FROM sessions WHERE order_id = $3) AS recorded")
        .bind(refusal.session.as_bytes())
        .bind(refusal.plan.as_bytes())
        .bind(refusal.order.as_bytes())
        .fetch_one(&mut tx)
        .await?;
        if row.get("before")? {
            return Ok(RefusalOutcome::KnownBefore);
        }
        if row.get::<u32>("recorded")? >= MAX_RECORDED_SESSIONS {
            return Ok(RefusalOutcome::TooMany);
        }
        sql("INSERT INTO orders (id, expires_at, sessions) VALUES ($1, $2, 0) ON CONFLICT (id) DO NOTHING")
            .bind(refusal.order.as_bytes())
            .bind(signed(refusal.expires_at.0)?)
            .execute(&mut tx)
            .await?;
        sql("INSERT INTO sessions
             (id, plan, order_id, account, exclusive, me, digest, replica, deadline, exposed_to, outcome)
             VALUES ($1, $2, $3, $4, TRUE, $5, $6, $7, $8, 0, 'aborted')")
        .bind(refusal.session.as_bytes())
        .bind(refusal.plan.as_bytes())
        .bind(refusal.order.as_bytes())
        .bind(refusal.account.as_bytes())
        .bind(refusal.me.number())
        .bind(refusal.digest.as_bytes())
        .bind(&refusal.replica)
        .bind(signed(refusal.deadline.0)?)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(RefusalOutcome::Recorded)
    }
}
