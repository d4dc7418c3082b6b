//! What peers tell of their state, and suspended components.

use quorate_backends::database::{StoreError, decoded, signed, sql};
use quorate_core::codec::encode;
use quorate_core::hello::{Hello, SignedHello};
use quorate_core::identity::PublicKey;
use quorate_core::{DatabaseId, Digest, UnixSeconds};

use super::party_state::new_database_id;
use super::{COUNTER_SETTLING_PERIOD, PartyStore};

/// A peer's state, compared with what was seen of it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerStanding {
    /// It is in the same database, and its counter is as high as it was, or higher.
    Current,
    /// Its counter is lower: the peer was set back to an earlier state.
    WentBack,
    /// It is in another database: the peer has lost its own, or a second process has its identity.
    OtherDatabase,
}

impl PeerStanding {
    fn of(counter: i64, settled: i64) -> Self {
        if counter >= settled { Self::Current } else { Self::WentBack }
    }
}

impl PartyStore {
    /// Remembers that no new session may run on a component (rule 7). What it has put into pools is not used any more.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn suspend(&self, digest: Digest) -> Result<(), StoreError> {
        sql("INSERT INTO suspended (digest) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(digest.as_bytes())
            .execute(&self.database)
            .await?;
        // Nothing uses these entries any more: the suspension holds where they can't be deleted now.
        let _ = self.delete_of_component(digest).await;
        Ok(())
    }

    /// The components that no new session may run on.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn suspended(&self) -> Result<Vec<Digest>, StoreError> {
        let rows = sql("SELECT digest FROM suspended ORDER BY digest").fetch_all(&self.database).await?;
        rows.iter().map(|row| row.read("digest", "suspended")).collect()
    }

    /// Compares what a peer's hello tells of its state with what was seen of it before: its database with the first that was
    /// seen, its counter with the highest that was seen more than [`COUNTER_SETTLING_PERIOD`] ago. Hellos of sessions that
    /// run at the same time may come in another order than they were sent.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn check_peer(
        &self,
        peer: PublicKey,
        hello: &SignedHello,
        now: UnixSeconds,
    ) -> Result<PeerStanding, StoreError> {
        let Hello { counter, database, .. } = hello.hello;
        // No party has raised its counter that often: the peer says what it likes.
        let Ok(counter) = signed(counter) else { return Ok(PeerStanding::WentBack) };
        // Most often there is nothing new.
        let known = sql("SELECT settled FROM peers
                 WHERE identity = $1 AND highest >= $2 AND turned > $3 - $4 AND database = $5")
        .bind(peer.0.as_slice())
        .bind(counter)
        .bind(signed(now.0)?)
        .bind(signed(COUNTER_SETTLING_PERIOD.as_secs())?)
        .bind(database.as_bytes())
        .fetch_optional(&self.database)
        .await?;
        if let Some(row) = known {
            return Ok(PeerStanding::of(counter, row.get("settled")?));
        }
        let mut tx = self.database.begin(&peer.0).await?;
        let row =
            sql("SELECT database, highest, marked, settled, turned, hello FROM peers WHERE identity = $1")
                .bind(peer.0.as_slice())
                .fetch_optional(&mut tx)
                .await?;
        if let Some(row) = &row
            && row.read::<DatabaseId>("database", "peers")? != database
        {
            return Ok(PeerStanding::OtherDatabase);
        }
        let (mut highest, mut marked, mut settled, mut turned, shown) = match row {
            Some(row) => (
                row.get::<i64>("highest")?,
                row.get::<i64>("marked")?,
                row.get::<i64>("settled")?,
                UnixSeconds(row.get("turned")?),
                row.get("hello")?,
            ),
            None => (0, 0, 0, now, encode(hello)),
        };
        // The highest time of the last turn is settled at this turn. After two turns without a message, all of it is.
        let since_turn = now.since(turned);
        if since_turn >= COUNTER_SETTLING_PERIOD {
            settled = if since_turn >= 2 * COUNTER_SETTLING_PERIOD { highest } else { marked };
            (marked, turned) = (highest, now);
        }
        let shown = if counter >= highest { encode(hello) } else { shown };
        highest = highest.max(counter);
        sql("INSERT INTO peers (identity, highest, marked, settled, turned, database, hello)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (identity) DO UPDATE SET highest = excluded.highest, marked = excluded.marked,
               settled = excluded.settled, turned = excluded.turned, hello = excluded.hello")
        .bind(peer.0.as_slice())
        .bind(highest)
        .bind(marked)
        .bind(settled)
        .bind(signed(turned.0)?)
        .bind(database.as_bytes())
        .bind(shown)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(PeerStanding::of(counter, settled))
    }

    /// Takes the database that a peer's hello tells for the peer's from now on: its operator has said that it lost the one before.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn accept_database(
        &self,
        peer: PublicKey,
        hello: &SignedHello,
        now: UnixSeconds,
    ) -> Result<PeerStanding, StoreError> {
        self.readmit(peer).await?;
        self.check_peer(peer, hello, now).await
    }

    /// The hello with which a peer has told its highest state counter.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn highest_hello(&self, peer: PublicKey) -> Result<Option<SignedHello>, StoreError> {
        let row = sql("SELECT hello FROM peers WHERE identity = $1").bind(peer.0.as_slice());
        let row = row.fetch_optional(&self.database).await?;
        row.map(|row| decoded(&row.get::<Vec<u8>>("hello")?, "peers")).transpose()
    }

    /// Notes that this party once had a state counter in this database. It was set back if its own is lower now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn note_once_counter(&self, counter: u64, database: DatabaseId) -> Result<(), StoreError> {
        // No party has raised its counter further.
        if signed(counter).is_err() {
            return Ok(());
        }
        let mut tx = self.database.begin(b"").await?;
        self.change_state(&mut tx, |state| {
            if database == state.database && counter > state.counter {
                state.once_counter = state.once_counter.max(counter);
            }
        })
        .await?;
        tx.commit().await
    }

    /// Whether this party was set back to an earlier state, and its operator has not accepted that.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn was_set_back(&self) -> Result<bool, StoreError> {
        Ok(self.state().await?.is_set_back())
    }

    /// Goes on in the state that this party was set back to, under a new id of the database: from there on the counter goes up
    /// again, and peers compare it with none from before. Says whether it was set back.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn accept_set_back(&self) -> Result<bool, StoreError> {
        let database = new_database_id()?;
        let mut tx = self.database.begin(b"").await?;
        let accepted = self
            .change_state(&mut tx, |state| {
                if state.is_set_back() {
                    (state.once_counter, state.database) = (0, database);
                }
            })
            .await?;
        tx.commit().await?;
        Ok(accepted)
    }

    /// Forgets what was seen of the state of a peer that was restored from an older backup or has a new database. Says
    /// whether anything was.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn readmit(&self, peer: PublicKey) -> Result<bool, StoreError> {
        let forgotten = sql("DELETE FROM peers WHERE identity = $1").bind(peer.0.as_slice());
        Ok(forgotten.execute(&self.database).await? == 1)
    }
}
