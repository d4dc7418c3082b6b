//! The users' party: plans that wait for a user, shares that were made for one, and what a user has asked for. The
//! shares themselves are never here, unless sealed to their user.

use std::time::Duration;

use quorate_backends::database::{Row, StoreError, signed, sql};
use quorate_core::certificate::{Certificate, Ready};
use quorate_core::codec::encode;
use quorate_core::{AccountId, KeyRecord, OrderId, PlanHash, SessionId, UnixMillis};

use super::session_rows::{started, unlock};
use super::shares::Stored;
use super::user_requests::use_claim;
use super::{PartyStore, Started};
use quorate_core::user_share::ShareEntries;

/// How long after it is over something is kept of a delivery: late questions get an exact answer.
const DELIVERY_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long a request's number is remembered after the request has expired.
const NONCE_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// A plan that waits for a user.
#[derive(Clone, PartialEq, Eq)]
pub struct WaitingPlan {
    /// Its session.
    pub session: SessionId,
    /// Its order.
    pub order: OrderId,
    /// The plan, as it came.
    pub plan: Vec<u8>,
    /// The token with which this party enters the session.
    pub token: String,
    /// When the session ends.
    pub deadline: UnixMillis,
}

impl std::fmt::Debug for WaitingPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WaitingPlan").field("session", &self.session).finish_non_exhaustive()
    }
}

/// Selects a plan or a delivery, by session or by order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareLookup {
    /// The one of a session.
    Session(SessionId),
    /// The one of an order.
    Order(OrderId),
}

impl ShareLookup {
    /// Both are hashes: none of the one kind is one of the other.
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Session(id) => id.as_bytes(),
            Self::Order(id) => id.as_bytes(),
        }
    }
}

/// A share that is sealed to its user.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedDelivery {
    /// The X25519 key of the recipient.
    pub recipient: [u8; 32],
    /// The sealed share.
    pub bytes: Vec<u8>,
}

/// How far the promise of a session's share is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromiseState {
    /// Nothing is promised: there is no share, or its user has not confirmed it.
    NotPromised,
    /// It is promised, and not all promises are here.
    Promised,
    /// The share is active, or was.
    Active,
}

/// How a share is handed to its user.
#[derive(Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// The session that made it.
    pub session: SessionId,
    /// The order that asked for it.
    pub order: OrderId,
    /// The certificate that activates the share when it is confirmed.
    pub certificate: Certificate,
    /// The share, sealed; `None` if it is given out as it is, once.
    pub sealed: Option<SealedDelivery>,
    /// SHA-256 of the claim with which its user confirms it.
    pub claim_hash: [u8; 32],
    /// Until when it may be confirmed.
    pub expires_at: UnixMillis,
}

/// A share that was made for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareDelivery {
    /// The session that made it.
    pub started: Started,
    /// How far it is.
    pub state: DeliveryState,
    /// The key that it was sealed to; `None` if it was given out as it is.
    pub recipient: Option<[u8; 32]>,
    /// SHA-256 of the claim with which its user asks for it and confirms it.
    pub claim_hash: [u8; 32],
    /// The sealed share, until it is confirmed or expires.
    pub sealed: Option<Vec<u8>>,
    /// The certificate that activates the share when it is confirmed.
    pub certificate: Certificate,
}

/// How far a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// The user has not said that the share is in good hands.
    Delivered,
    /// The user has.
    Confirmed,
    /// Too late: nothing was promised, and nothing will be.
    Expired,
}

/// The result of a confirmation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// It counts; the promise may be sent. With the same idempotency key this may be said again.
    Confirmed,
    /// It was confirmed before.
    AlreadyConfirmed,
    /// It is too late.
    Expired,
    /// There is no such delivery.
    Unknown,
}

impl PartyStore {
    /// Keeps a plan until a user comes. A second time it changes nothing.
    ///
    /// # Errors
    /// See [`StoreError`]; the same holds for all methods.
    pub async fn keep_plan(&self, plan: &WaitingPlan) -> Result<(), StoreError> {
        sql(
            "INSERT INTO waiting_plans (session, order_id, plan, token, deadline) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING",
        )
        .bind(plan.session.as_bytes())
        .bind(plan.order.as_bytes())
        .bind(plan.plan.as_slice())
        .bind(plan.token.as_str())
        .bind(signed(plan.deadline.0)?)
        .execute(&self.database)
        .await?;
        Ok(())
    }

    /// The plans of a session or of an order that no session was claimed for yet.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn waiting_plans(&self, which: ShareLookup) -> Result<Vec<WaitingPlan>, StoreError> {
        let rows = sql("SELECT session, order_id, plan, token, deadline FROM waiting_plans
             WHERE (session = $1 OR order_id = $1)
             AND NOT EXISTS (SELECT 1 FROM sessions WHERE sessions.id = waiting_plans.session)")
        .bind(which.bytes())
        .fetch_all(&self.database)
        .await?;
        rows.iter().map(waiting_plan).collect()
    }

    /// The plan of a session, and whether the session was claimed. One that ran at once was never kept.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn kept_plan(&self, session: SessionId) -> Result<Option<(WaitingPlan, bool)>, StoreError> {
        let row = sql("SELECT session, order_id, plan, token, deadline,
                    EXISTS (SELECT 1 FROM sessions WHERE sessions.id = waiting_plans.session) AS claimed
             FROM waiting_plans WHERE session = $1")
        .bind(session.as_bytes())
        .fetch_optional(&self.database)
        .await?;
        row.map(|row| Ok((waiting_plan(&row)?, row.get("claimed")?))).transpose()
    }

    /// Forgets a plan that was not taken on.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn drop_plan(&self, session: SessionId) -> Result<(), StoreError> {
        let dropped = sql("DELETE FROM waiting_plans WHERE session = $1").bind(session.as_bytes());
        dropped.execute(&self.database).await?;
        Ok(())
    }

    /// Ends a session with a share that its user has still to confirm. It stores the sealed record, and `entries`,
    /// which are hashes of the share.
    ///
    /// # Errors
    /// See [`PartyStore::promise`].
    pub async fn deliver(
        &self,
        ready: &Ready,
        record: &KeyRecord,
        entries: &ShareEntries,
        new_delivery: &NewDelivery,
    ) -> Result<(), StoreError> {
        let mut tx = self.store_share(ready, record, entries, Stored::Delivered).await?;
        use_claim(&mut tx, &new_delivery.claim_hash, new_delivery.order).await?;
        let (recipient, sealed) = match &new_delivery.sealed {
            Some(sealed) => (Some(sealed.recipient.as_slice()), Some(sealed.bytes.as_slice())),
            None => (None, None),
        };
        sql("INSERT INTO deliveries (session, plan, state, certificate, recipient, sealed, claim_hash, expires_at)
             VALUES ($1, $2, 'delivered', $3, $4, $5, $6, $7)")
        .bind(new_delivery.session.as_bytes())
        .bind(ready.activation.plan.as_bytes())
        .bind(encode(&new_delivery.certificate))
        .bind(recipient)
        .bind(sealed)
        .bind(new_delivery.claim_hash.as_slice())
        .bind(signed(new_delivery.expires_at.0)?)
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// A share that was made for a user, by its session or by its order.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn delivery(&self, which: ShareLookup) -> Result<Option<ShareDelivery>, StoreError> {
        let row = sql("SELECT sessions.plan, sessions.id, order_id, me, digest, deliveries.state AS delivery, recipient,
                    deliveries.sealed, deliveries.certificate, claim_hash
             FROM deliveries JOIN sessions ON sessions.id = deliveries.session
             WHERE sessions.id = $1 OR sessions.order_id = $1")
        .bind(which.bytes())
        .fetch_optional(&self.database)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let recipient: Option<Vec<u8>> = row.get("recipient")?;
        let recipient = recipient.map(|key| key.try_into()).transpose();
        Ok(Some(ShareDelivery {
            started: started(&row)?,
            state: match row.get::<String>("delivery")?.as_str() {
                "delivered" => DeliveryState::Delivered,
                "confirmed" => DeliveryState::Confirmed,
                _ => DeliveryState::Expired,
            },
            recipient: recipient.map_err(|_| StoreError::Malformed("deliveries"))?,
            claim_hash: row
                .get::<Vec<u8>>("claim_hash")?
                .try_into()
                .map_err(|_| StoreError::Malformed("deliveries"))?,
            sealed: row.get("sealed")?,
            certificate: row.read("certificate", "deliveries")?,
        }))
    }

    /// Confirms a delivery: the stored record becomes a promise, and the sealed share is deleted.
    /// `by` is a hash of the request's idempotency key.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn confirm(
        &self,
        session: SessionId,
        by: Option<[u8; 32]>,
        now: UnixMillis,
    ) -> Result<Confirmation, StoreError> {
        let row = sql("SELECT account FROM sessions WHERE id = $1").bind(session.as_bytes());
        let Some(row) = row.fetch_optional(&self.database).await? else { return Ok(Confirmation::Unknown) };
        let account: AccountId = row.read("account", "sessions")?;
        let mut tx = self.database.begin(account.as_bytes()).await?;
        self.account_state(&mut tx, account).await?;
        let row = sql("SELECT plan, state, confirmed_by FROM deliveries WHERE session = $1")
            .bind(session.as_bytes())
            .fetch_optional(&mut tx)
            .await?;
        let Some(row) = row else { return Ok(Confirmation::Unknown) };
        let plan: PlanHash = row.read("plan", "deliveries")?;
        let confirmed = sql("UPDATE deliveries SET state = 'confirmed', sealed = NULL, confirmed_by = $1
             WHERE session = $2 AND state = 'delivered' AND expires_at >= $3")
        .bind(by.as_ref().map(<[u8; 32]>::as_slice))
        .bind(session.as_bytes())
        .bind(signed(now.0)?)
        .execute(&mut tx)
        .await?;
        if confirmed == 0 {
            let same = by.is_some_and(|by| {
                row.get::<Option<Vec<u8>>>("confirmed_by")
                    .is_ok_and(|kept| kept.as_deref() == Some(by.as_slice()))
            });
            return Ok(match row.get::<String>("state")?.as_str() {
                "confirmed" if same => Confirmation::Confirmed,
                "confirmed" => Confirmation::AlreadyConfirmed,
                _ => Confirmation::Expired,
            });
        }
        for statement in [
            "UPDATE sessions SET outcome = 'promised', reported = FALSE WHERE plan = $1 AND outcome = 'delivered'",
            "UPDATE shares SET state = 'pending' WHERE plan = $1 AND state = 'delivered'",
        ] {
            if sql(statement).bind(plan.as_bytes()).execute(&mut tx).await? != 1 {
                return Err(StoreError::Conflict("the delivered share is missing"));
            }
        }
        self.seal_account(&mut tx, account).await?;
        tx.commit().await?;
        Ok(Confirmation::Confirmed)
    }

    /// Ends the deliveries that were not confirmed in time, forgets their shares, and returns their sessions: this
    /// party never promised anything for them. Forgets what is long over.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn expire_deliveries(&self, now: UnixMillis) -> Result<u64, StoreError> {
        let rows = sql("SELECT deliveries.plan, account FROM deliveries JOIN sessions ON sessions.id = deliveries.session
             WHERE state = 'delivered' AND expires_at < $1")
            .bind(signed(now.0)?)
            .fetch_all(&self.database)
            .await?;
        let mut expired = 0;
        for row in &rows {
            let plan: PlanHash = row.read("plan", "deliveries")?;
            let account: AccountId = row.read("account", "sessions")?;
            let mut tx = self.database.begin(account.as_bytes()).await?;
            match self.account_state(&mut tx, account).await {
                Ok(_) => {}
                // An operator has to look at this account. It holds up no other.
                Err(StoreError::Altered(_)) => continue,
                Err(error) => return Err(error),
            }
            expired +=
                sql("UPDATE deliveries SET state = 'expired', sealed = NULL WHERE plan = $1 AND state = 'delivered'")
                    .bind(plan.as_bytes())
                    .execute(&mut tx)
                    .await?;
            sql("UPDATE sessions SET outcome = 'aborted' WHERE plan = $1 AND outcome = 'delivered'")
                .bind(plan.as_bytes())
                .execute(&mut tx)
                .await?;
            let forgotten = sql("DELETE FROM shares WHERE plan = $1 AND state = 'delivered'");
            if forgotten.bind(plan.as_bytes()).execute(&mut tx).await? == 1 {
                unlock(&mut tx, plan).await?;
            }
            self.seal_account(&mut tx, account).await?;
            tx.commit().await?;
        }
        let old = signed((now - DELIVERY_RETENTION).0)?;
        let latest_seen = signed(self.latest_seen().await?.0)?;
        for (statement, before) in [
            ("DELETE FROM deliveries WHERE state <> 'delivered' AND expires_at < $1", old),
            ("DELETE FROM waiting_plans WHERE deadline < $1", signed(now.0)?),
            // By the stored time: a clock that jumps ahead and back makes no number new again.
            (
                "DELETE FROM nonces WHERE expires_at < $1",
                latest_seen.saturating_sub(signed(NONCE_RETENTION.as_secs())?),
            ),
        ] {
            sql(statement).bind(before).execute(&self.database).await?;
        }
        Ok(expired)
    }

    /// How far the promise of a session's share is.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn promise_state(&self, plan: PlanHash) -> Result<PromiseState, StoreError> {
        let row = sql("SELECT state FROM shares WHERE plan = $1")
            .bind(plan.as_bytes())
            .fetch_optional(&self.database)
            .await?;
        let state: Option<String> = row.map(|row| row.get("state")).transpose()?;
        Ok(match state.as_deref() {
            None | Some("delivered") => PromiseState::NotPromised,
            Some("pending") => PromiseState::Promised,
            Some(_) => PromiseState::Active,
        })
    }
}

fn waiting_plan(row: &Row) -> Result<WaitingPlan, StoreError> {
    Ok(WaitingPlan {
        session: row.read("session", "waiting_plans")?,
        order: row.read("order_id", "waiting_plans")?,
        plan: row.get("plan")?,
        token: row.get("token")?,
        deadline: UnixMillis(row.get("deadline")?),
    })
}
