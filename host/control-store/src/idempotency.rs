//! Requests that carry an idempotency key: each is carried out by one process at a time, which holds a lease on the
//! key.

use std::time::Duration;

use quorate_backends::database::{Row, StoreError, Tx, signed, sql};
use quorate_core::UnixMillis;

use super::AccountStore;

/// How long an idempotency key is kept: a day.
pub const KEY_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a request holds its idempotency key without a word from its owner. The owner renews the lease every
/// few seconds; when it has run out, another process takes the request over.
pub const LEASE_DURATION: Duration = Duration::from_millis(12_000);

/// A caller's name for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The caller.
    pub caller: String,
    /// The key, in the caller's words.
    pub name: String,
}

/// The request that an idempotency key stands for, as one process carries it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotentRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// A hash of the request.
    pub request: [u8; 32],
    /// The ids of what it makes.
    pub ids: Vec<u8>,
    /// When it came: it is forgotten after [`KEY_RETENTION`].
    pub started: UnixMillis,
    /// The process that carries it out: a random number.
    pub owner: [u8; 16],
}

/// The result of an attempt to acquire an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquisition {
    /// The request is this process's to carry out.
    Acquired {
        /// The ids of an earlier attempt that was interrupted.
        earlier: Option<Vec<u8>>,
    },
    /// Another process carries it out.
    InProgress,
    /// It was answered before.
    Completed {
        /// The HTTP status.
        status: u16,
        /// The body.
        answer: String,
    },
    /// The key stands for another request.
    Mismatch,
}

impl AccountStore {
    /// Acquires the key for a request, or says what became of it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn acquire(
        &self,
        request: &IdempotentRequest,
        now: UnixMillis,
    ) -> Result<Acquisition, StoreError> {
        let mut tx =
            self.database.begin(format!("{}/{}", request.key.caller, request.key.name).as_bytes()).await?;
        let found = self.find(&mut tx, &request.key, now).await?;
        let mut earlier = None;
        if let Some((caller, row)) = found {
            let (response, ids) = (completed_response(&row)?, row.get::<Vec<u8>>("ids")?);
            let stored = RequestFields {
                key: &request.key,
                request: &row.get::<Vec<u8>>("request")?,
                started: UnixMillis(row.get("started")?),
            };
            let fields = stored.with(&ids, response.as_ref());
            self.keys.verify("idempotency", &fields, &row.get::<Vec<u8>>("mac")?)?;
            if stored.request != request.request {
                return Ok(Acquisition::Mismatch);
            }
            if let Some(CompletedResponse { status, body }) = response {
                return Ok(Acquisition::Completed { status, answer: body });
            }
            if row.get::<u64>("held_until")? >= now.0 {
                return Ok(Acquisition::InProgress);
            }
            earlier = Some(ids);
            // From here on it is stored under the current name.
            if caller != self.caller(&request.key) {
                sql("DELETE FROM idempotency WHERE caller = $1 AND name = $2")
                    .bind(&caller)
                    .bind(&request.key.name)
                    .execute(&mut tx)
                    .await?;
            }
        }
        let ids = earlier.as_deref().unwrap_or(&request.ids);
        sql("INSERT INTO idempotency (caller, name, request, ids, owner, started, held_until, mac)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (caller, name) DO UPDATE SET
               request = excluded.request, ids = excluded.ids, owner = excluded.owner, started = excluded.started,
               held_until = excluded.held_until, mac = excluded.mac, status = NULL, answer = NULL")
        .bind(self.caller(&request.key))
        .bind(&request.key.name)
        .bind(request.request.as_slice())
        .bind(ids)
        .bind(request.owner.as_slice())
        .bind(signed(request.started.0)?)
        .bind(signed((now + LEASE_DURATION).0)?)
        .bind(self.mac(request, ids, None))
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(Acquisition::Acquired { earlier })
    }

    /// Renews the lease for another [`LEASE_DURATION`].
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another process has taken the request over; the same holds for the next methods.
    pub async fn renew(&self, request: &IdempotentRequest, now: UnixMillis) -> Result<(), StoreError> {
        let renewed = sql(
            "UPDATE idempotency SET held_until = $1 WHERE caller = $2 AND name = $3 AND owner = $4 AND status IS NULL",
        )
        .bind(signed((now + LEASE_DURATION).0)?)
        .bind(self.caller(&request.key))
        .bind(&request.key.name)
        .bind(request.owner.as_slice())
        .execute(&self.database)
        .await?;
        owned(renewed)
    }

    /// Replaces the ids of the request: nothing came of those before.
    ///
    /// # Errors
    /// See [`AccountStore::renew`].
    pub async fn rebind(&self, request: &IdempotentRequest) -> Result<(), StoreError> {
        let rebound = sql(
            "UPDATE idempotency SET ids = $1, mac = $2 WHERE caller = $3 AND name = $4 AND owner = $5 AND status IS NULL",
        )
        .bind(request.ids.as_slice())
        .bind(self.mac(request, &request.ids, None))
        .bind(self.caller(&request.key))
        .bind(&request.key.name)
        .bind(request.owner.as_slice())
        .execute(&self.database)
        .await?;
        owned(rebound)
    }

    /// Keeps the answer of the request, for everybody who repeats it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn complete(
        &self,
        request: &IdempotentRequest,
        status: u16,
        answer: &str,
    ) -> Result<(), StoreError> {
        let completed = sql("UPDATE idempotency SET status = $1, answer = $2, mac = $3
             WHERE caller = $4 AND name = $5 AND owner = $6 AND status IS NULL")
        .bind(status)
        .bind(answer)
        .bind(self.mac(request, &[], Some(&CompletedResponse { status, body: answer.to_owned() })))
        .bind(self.caller(&request.key))
        .bind(&request.key.name)
        .bind(request.owner.as_slice())
        .execute(&self.database)
        .await?;
        owned(completed)
    }

    /// Releases the key without an answer: the next request with the key runs.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn release(&self, request: &IdempotentRequest) -> Result<(), StoreError> {
        let released = sql("UPDATE idempotency SET held_until = 0
             WHERE caller = $1 AND name = $2 AND owner = $3 AND status IS NULL")
        .bind(self.caller(&request.key))
        .bind(&request.key.name)
        .bind(request.owner.as_slice())
        .execute(&self.database)
        .await?;
        owned(released)
    }

    /// Forgets keys that are older than [`KEY_RETENTION`].
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn forget_old_keys(&self, now: UnixMillis) -> Result<(), StoreError> {
        sql("DELETE FROM idempotency WHERE started < $1")
            .bind(signed((now - KEY_RETENTION).0)?)
            .execute(&self.database)
            .await?;
        Ok(())
    }

    /// Releases all keys without an answer: for the start of the only process that there is.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn release_all(&self) -> Result<(), StoreError> {
        sql("UPDATE idempotency SET held_until = 0 WHERE status IS NULL").execute(&self.database).await?;
        Ok(())
    }
}

/// The answer to a request that is over.
struct CompletedResponse {
    status: u16,
    body: String,
}

impl AccountStore {
    /// The name under which a caller is stored now.
    fn caller(&self, key: &IdempotencyKey) -> String {
        self.keys.caller_name(&key.caller)
    }

    /// The row of a key that is not forgotten, and the name of its caller there: row keys may have been replaced since.
    async fn find(
        &self,
        tx: &mut Tx,
        key: &IdempotencyKey,
        now: UnixMillis,
    ) -> Result<Option<(String, Row)>, StoreError> {
        for caller in self.keys.caller_names(&key.caller) {
            let row = sql("SELECT request, ids, started, held_until, status, answer, mac FROM idempotency
                 WHERE caller = $1 AND name = $2 AND started >= $3")
            .bind(&caller)
            .bind(&key.name)
            .bind(signed((now - KEY_RETENTION).0)?)
            .fetch_optional(&mut *tx)
            .await?;
            if let Some(row) = row {
                return Ok(Some((caller, row)));
            }
        }
        Ok(None)
    }

    fn mac(&self, request: &IdempotentRequest, ids: &[u8], response: Option<&CompletedResponse>) -> Vec<u8> {
        let IdempotentRequest { key, request, started, .. } = request;
        let fields = RequestFields { key, request, started: *started };
        self.keys.authenticate("idempotency", &fields.with(ids, response))
    }
}

fn completed_response(row: &Row) -> Result<Option<CompletedResponse>, StoreError> {
    let status: Option<u16> = row.get("status")?;
    status.map(|status| Ok(CompletedResponse { status, body: row.get("answer")? })).transpose()
}

/// What the MAC of a request covers, besides its ids until it is over, and its answer then. Its owner and the lease only
/// decide who carries it out.
struct RequestFields<'a> {
    key: &'a IdempotencyKey,
    request: &'a [u8],
    started: UnixMillis,
}

impl RequestFields<'_> {
    fn with(&self, ids: &[u8], response: Option<&CompletedResponse>) -> Vec<Vec<u8>> {
        let IdempotencyKey { caller, name } = self.key;
        let mut fields = vec![caller.clone().into_bytes(), name.clone().into_bytes(), self.request.to_vec()];
        fields.push(self.started.0.to_be_bytes().to_vec());
        match response {
            None => fields.extend([b"ids".to_vec(), ids.to_vec()]),
            Some(CompletedResponse { status, body }) => {
                fields.extend([b"answer".to_vec(), status.to_be_bytes().to_vec(), body.clone().into_bytes()]);
            }
        }
        fields
    }
}

fn owned(changed: u64) -> Result<(), StoreError> {
    if changed == 1 {
        Ok(())
    } else {
        Err(StoreError::Conflict("another process has taken the request over"))
    }
}
