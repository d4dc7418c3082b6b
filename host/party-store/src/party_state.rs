//! The row of a party: its counter, times and database id, with a MAC.

use quorate_backends::database::{Row, StoreError, Tx, signed, sql};
use quorate_core::codec::encode;
use quorate_core::{DatabaseId, UnixSeconds, wire_struct};

use super::{Crypter, PartyStore};

/// The columns of the row, for a statement that reads others too. They are read with [`PartyStore::opened_state`].
macro_rules! state_columns {
    () => {
        "latest_seen, orders_from, counter, database_id, once_counter, mac"
    };
}
pub(super) use state_columns;

/// What a party knows of itself. Another program that changes it is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartyState {
    /// The latest time that was stored with a claim.
    pub(super) latest_seen: UnixSeconds,
    /// The earliest time of orders that are taken; 0 until the party has begun to work in this database.
    pub(super) orders_from: UnixSeconds,
    /// Every consumption, ban and activation raises it.
    pub(super) counter: u64,
    /// Tells this database from every other.
    pub(super) database: DatabaseId,
    /// The highest counter that the party is known to have had in this database before it was set back; 0 if it was not. Only its
    /// operator sets it to 0.
    pub(super) once_counter: u64,
}

wire_struct!(PartyState { latest_seen, orders_from, counter, database, once_counter });

impl PartyState {
    fn new(database: DatabaseId) -> Self {
        Self {
            latest_seen: UnixSeconds(0),
            orders_from: UnixSeconds(0),
            counter: 0,
            database,
            once_counter: 0,
        }
    }

    /// Whether this party was set back to an earlier state.
    pub(super) fn is_set_back(&self) -> bool {
        self.once_counter != 0
    }

    fn mac(&self, crypter: &Crypter) -> Vec<u8> {
        crypter.mac("state", &encode(self))
    }
}

/// A random id for a database.
pub(super) fn new_database_id() -> Result<DatabaseId, StoreError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|_| StoreError::Conflict("no randomness"))?;
    Ok(DatabaseId(id))
}

impl PartyStore {
    /// Writes the row of a database that has just been made.
    ///
    /// # Errors
    /// [`StoreError::Altered`] when the database is not new.
    pub(super) async fn insert_state(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let row = sql("SELECT EXISTS (SELECT 1 FROM account_macs) OR EXISTS (SELECT 1 FROM orders)
               OR EXISTS (SELECT 1 FROM shares) AS used")
        .fetch_one(&mut *tx)
        .await?;
        if row.get("used")? {
            return Err(StoreError::Altered("state"));
        }
        let state = PartyState::new(new_database_id()?);
        sql("INSERT INTO state (id, latest_seen, orders_from, counter, database_id, once_counter, mac)
             VALUES (1, 0, 0, 0, $1, 0, $2)")
        .bind(state.database.as_bytes())
        .bind(state.mac(&self.crypter))
        .execute(tx)
        .await
        .map(drop)
    }

    /// The row of the party.
    pub(super) async fn state(&self) -> Result<PartyState, StoreError> {
        let row =
            sql(concat!("SELECT ", state_columns!(), " FROM state")).fetch_optional(&self.database).await?;
        self.opened_state(&row.ok_or(StoreError::Altered("state"))?)
    }

    /// The state that a row tells, which has [`state_columns`].
    ///
    /// # Errors
    /// [`StoreError::Altered`] when this party did not write it.
    pub(super) fn opened_state(&self, row: &Row) -> Result<PartyState, StoreError> {
        let state = PartyState {
            latest_seen: UnixSeconds(row.get("latest_seen")?),
            orders_from: UnixSeconds(row.get("orders_from")?),
            counter: row.get("counter")?,
            database: row.read("database_id", "state")?,
            once_counter: row.get("once_counter")?,
        };
        let mac: Vec<u8> = row.get("mac")?;
        if !self.crypter.is_mac("state", &encode(&state), &mac) {
            return Err(StoreError::Altered("state"));
        }
        Ok(state)
    }

    /// Changes the row of the party; other transactions that change it wait. Says whether there was anything to change.
    pub(super) async fn change_state(
        &self,
        tx: &mut Tx,
        change: impl FnOnce(&mut PartyState),
    ) -> Result<bool, StoreError> {
        // It locks the row, on either database.
        let row = sql(concat!("UPDATE state SET id = id RETURNING ", state_columns!()))
            .fetch_optional(&mut *tx)
            .await?;
        let before = self.opened_state(&row.ok_or(StoreError::Altered("state"))?)?;
        let mut state = before.clone();
        change(&mut state);
        if state == before {
            return Ok(false);
        }
        sql("UPDATE state SET latest_seen = $1, orders_from = $2, counter = $3, database_id = $4,
               once_counter = $5, mac = $6")
        .bind(signed(state.latest_seen.0)?)
        .bind(signed(state.orders_from.0)?)
        .bind(signed(state.counter)?)
        .bind(state.database.as_bytes())
        .bind(signed(state.once_counter)?)
        .bind(state.mac(&self.crypter))
        .execute(tx)
        .await?;
        Ok(true)
    }

    /// The earliest time of orders that are taken.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn orders_from(&self) -> Result<UnixSeconds, StoreError> {
        Ok(self.state().await?.orders_from)
    }

    /// Notes when a new database begins: orders from before may be known to the one that it replaces, and are not taken. A second time
    /// it changes nothing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn begin_orders(&self, now: UnixSeconds) -> Result<(), StoreError> {
        let mut tx = self.database.begin(b"").await?;
        self.change_state(&mut tx, |state| {
            if state.orders_from == UnixSeconds(0) {
                state.orders_from = now;
            }
        })
        .await?;
        tx.commit().await
    }

    /// Raises the state counter.
    pub(super) async fn raise_counter(&self, tx: &mut Tx) -> Result<(), StoreError> {
        self.change_state(tx, |state| state.counter += 1).await.map(drop)
    }
}
