//! Accounts, and the keygens and refreshes whose result is not known yet.

use quorate_backends::database::{Database, Row, Statement, StoreError, signed, sql};
use quorate_core::certificate::{Certificate, KeyOutputs};
use quorate_core::codec::{decode, encode};
use quorate_core::{AccountId, KeySpec, OrderId, PartyIndex, UnixMillis};

use super::{ACCOUNT_SCHEMA, RowKeys};

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The properties of its key, its id among them. They never change, but for the identities of parties: a repair may replace some.
    pub spec: KeySpec,
    /// The user, in the caller's words.
    pub user_id: String,
    /// How far it is.
    pub state: AccountState,
    /// The party whose share a user keeps, if there is one.
    pub user_party: Option<PartyIndex>,
    /// SHA-256 of the claim to the user's first share.
    pub claim_hash: Option<[u8; 32]>,
    /// Keygens and refreshes whose result is not known yet.
    pub open: Vec<OpenOrder>,
    /// When it was made.
    pub created: UnixMillis,
}

/// A keygen or refresh whose result is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOrder {
    /// Its id.
    pub id: OrderId,
    /// When nothing can be begun for it any more.
    pub expires: UnixMillis,
}

/// How far an account is.
// Nearly every account is active: a box would only be one more allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountState {
    /// Its keygen has no certificate yet.
    Creating,
    /// It has a key.
    Active {
        /// The certificate that made the current share set active.
        certificate: Certificate,
        /// The key.
        key: KeyOutputs,
    },
    /// No key came of its keygen, as far as is known: a certificate that turns up later still makes it active.
    Failed,
}

/// The durable state of the account service: accounts, open orders, idempotency keys. Clones share the database.
#[derive(Clone, Debug)]
pub struct AccountStore {
    pub(crate) database: Database,
    pub(crate) keys: RowKeys,
}

impl AccountStore {
    /// Brings the schema of a database up to date.
    ///
    /// # Errors
    /// [`StoreError::WrongRowKeys`] when the database was written under none of these keys.
    pub async fn open(database: Database, keys: RowKeys) -> Result<Self, StoreError> {
        database.migrate(&ACCOUNT_SCHEMA).await?;
        let store = Self { database, keys };
        store.check_row_keys().await?;
        Ok(store)
    }

    /// The keys under which rows are authenticated.
    #[must_use]
    pub fn row_keys(&self) -> &RowKeys {
        &self.keys
    }

    /// Records a new account, with its open orders. What is there already stays as it is.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn create_account(&self, account: &Account) -> Result<(), StoreError> {
        let mut tx = self.database.begin(account.spec.account.as_bytes()).await?;
        sql("INSERT INTO accounts (id, user_id, state, scheme, protocol, threshold, parties, user_party, claim_hash, mandatory, created, mac)
             VALUES ($1, $2, 'creating', $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (id) DO NOTHING")
        .bind(account.spec.account.as_bytes())
        .bind(&account.user_id)
        .bind(&account.spec.scheme)
        .bind(&account.spec.protocol)
        .bind(encode(&account.spec.threshold))
        .bind(encode(&account.spec.parties))
        .bind(account.user_party.map(PartyIndex::number))
        .bind(account.claim_hash.as_ref().map(<[u8; 32]>::as_slice))
        .bind(encode(&account.spec.mandatory))
        .bind(signed(account.created.0)?)
        .bind(self.keys.authenticate("accounts", &account_fields(account)))
        .execute(&mut tx)
        .await?;
        for order in &account.open {
            self.upsert_open_order(account.spec.account, *order)?.execute(&mut tx).await?;
        }
        tx.commit().await
    }

    /// An account. Its certificate is not verified here.
    ///
    /// # Errors
    /// [`StoreError::Altered`] when no account service has written it.
    pub async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        let Some(row) = account_row(id).fetch_optional(&self.database).await? else { return Ok(None) };
        let open = open_order_rows(id).fetch_all(&self.database).await?;
        self.verified(&row, &open).map(Some)
    }

    /// Whether another account, which has a key or may get one, was made with this claim.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn claim_is_taken(
        &self,
        claim_hash: [u8; 32],
        by_other_than: AccountId,
    ) -> Result<bool, StoreError> {
        let row = sql("SELECT 1 FROM accounts WHERE claim_hash = $1 AND id <> $2 AND state <> 'failed'")
            .bind(claim_hash.as_slice())
            .bind(by_other_than.as_bytes());
        Ok(row.fetch_optional(&self.database).await?.is_some())
    }

    /// Notes that a refresh of an account is about to begin, perhaps again.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn open_order(&self, id: AccountId, order: OpenOrder) -> Result<(), StoreError> {
        self.upsert_open_order(id, order)?.execute(&self.database).await.map(drop)
    }

    /// Notes that nothing can come of a keygen or refresh any more, and that it holds nothing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn close_order(&self, id: AccountId, order: OrderId) -> Result<(), StoreError> {
        sql("DELETE FROM open_orders WHERE account = $1 AND order_id = $2")
            .bind(id.as_bytes())
            .bind(order.as_bytes())
            .execute(&self.database)
            .await?;
        Ok(())
    }

    /// Makes a certified share set the current one, by a certificate that the caller has verified under the identities of `spec`. One
    /// of an earlier or the same epoch changes nothing. With a new one no order of the account is open any more.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is no such account, or its key is another.
    pub async fn activate_account(
        &self,
        spec: &KeySpec,
        certificate: &Certificate,
        key: &KeyOutputs,
    ) -> Result<(), StoreError> {
        let activation = &certificate.activation;
        let mut tx = self.database.begin(activation.account.as_bytes()).await?;
        let id = activation.account.as_bytes();
        let row = account_row(activation.account).fetch_optional(&mut tx).await?;
        let row = row.ok_or(StoreError::Conflict("there is no such account"))?;
        if certified_epoch(&row)? >= activation.epoch {
            return Ok(());
        }
        if account(&row, vec![])?.spec != *spec {
            let mut repaired = self.verified(&row, &[])?;
            if !repaired.spec.is_of_same_key(spec) {
                return Err(StoreError::Conflict("the account has another key"));
            }
            repaired.spec = spec.clone();
            sql("UPDATE accounts SET parties = $1, mac = $2 WHERE id = $3")
                .bind(encode(&spec.parties))
                .bind(self.keys.authenticate("accounts", &account_fields(&repaired)))
                .bind(id)
                .execute(&mut tx)
                .await?;
        }
        sql("UPDATE accounts SET state = 'active', epoch = $1, certificate = $2, outputs = $3, key_mac = $4 WHERE id = $5")
            .bind(activation.epoch)
            .bind(encode(certificate))
            .bind(encode(key))
            .bind(self.keys.authenticate("account keys", &key_fields(activation.account, key)))
            .bind(id)
            .execute(&mut tx)
            .await?;
        sql("DELETE FROM open_orders WHERE account = $1").bind(id).execute(&mut tx).await?;
        tx.commit().await
    }

    /// Notes that no key has come of an account's keygen. An active account stays active.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn fail_account(&self, id: AccountId) -> Result<(), StoreError> {
        sql("UPDATE accounts SET state = 'failed' WHERE id = $1 AND state = 'creating'")
            .bind(id.as_bytes())
            .execute(&self.database)
            .await?;
        Ok(())
    }

    /// The account of these rows, if an account service has written them.
    pub(crate) fn verified(&self, row: &Row, open: &[Row]) -> Result<Account, StoreError> {
        let id: AccountId = row.read("id", "accounts")?;
        let open_order = |row: &Row| {
            let order = OpenOrder {
                id: row.read("order_id", "open_orders")?,
                expires: UnixMillis(row.get("expires")?),
            };
            let mac: Vec<u8> = row.get("mac")?;
            self.keys.verify("open_orders", &open_order_fields(id, &order), &mac).map(|()| order)
        };
        let account = account(row, open.iter().map(open_order).collect::<Result<_, StoreError>>()?)?;
        self.keys.verify("accounts", &account_fields(&account), &row.get::<Vec<u8>>("mac")?)?;
        let certified = match &account.state {
            AccountState::Active { certificate, key } => {
                let mac: Vec<u8> = row.get("key_mac")?;
                self.keys.verify("account keys", &key_fields(id, key), &mac)?;
                certificate.activation.epoch
            }
            // One with a key must not say that it has none.
            AccountState::Creating | AccountState::Failed => certified_epoch(row)?,
        };
        let is_about_key = matches!(account.state, AccountState::Active { .. }) == (certified > 0);
        if is_about_key && row.get::<u32>("epoch")? == certified {
            Ok(account)
        } else {
            Err(StoreError::Altered("accounts"))
        }
    }

    /// A process that takes a request over opens the same order once more, with a later expiry.
    fn upsert_open_order(&self, account: AccountId, order: OpenOrder) -> Result<Statement, StoreError> {
        let mac = self.keys.authenticate("open_orders", &open_order_fields(account, &order));
        let opened = sql("INSERT INTO open_orders (account, order_id, expires, mac) VALUES ($1, $2, $3, $4)
             ON CONFLICT (account, order_id) DO UPDATE SET expires = excluded.expires, mac = excluded.mac");
        let opened = opened.bind(account.as_bytes()).bind(order.id.as_bytes());
        Ok(opened.bind(signed(order.expires.0)?).bind(mac))
    }
}

/// Reads an account.
pub(crate) fn account_row(id: AccountId) -> Statement {
    sql("SELECT * FROM accounts WHERE id = $1").bind(id.as_bytes())
}

/// Reads the open orders of an account.
pub(crate) fn open_order_rows(id: AccountId) -> Statement {
    sql("SELECT order_id, expires, mac FROM open_orders WHERE account = $1 ORDER BY number")
        .bind(id.as_bytes())
}

/// What the MAC of an open order covers.
pub(crate) fn open_order_fields(account: AccountId, order: &OpenOrder) -> [Vec<u8>; 3] {
    [account.as_bytes().to_vec(), order.id.as_bytes().to_vec(), order.expires.0.to_be_bytes().to_vec()]
}

/// What the MAC of an account covers: all that only a repair changes. How far the account is proves itself.
pub(crate) fn account_fields(account: &Account) -> [Vec<u8>; 5] {
    let Account { spec, user_id, user_party, claim_hash, created, state: _, open: _ } = account;
    [
        encode(spec),
        user_id.clone().into_bytes(),
        encode(user_party),
        encode(claim_hash),
        created.0.to_be_bytes().to_vec(),
    ]
}

/// What the MAC of an account's key covers: a key is made once.
pub(crate) fn key_fields(account: AccountId, key: &KeyOutputs) -> [Vec<u8>; 3] {
    [account.as_bytes().to_vec(), key.public_key.0.clone(), encode(&key.chain_code)]
}

/// The epoch of a row, which its certificate proves.
fn certified_epoch(row: &Row) -> Result<u32, StoreError> {
    let certificate: Option<Vec<u8>> = row.get("certificate")?;
    let certificate: Option<Certificate> =
        certificate.map(|bytes| decode(&bytes).map_err(|_| StoreError::Malformed("accounts"))).transpose()?;
    let epoch = certificate.map_or(0, |certificate| certificate.activation.epoch);
    if row.get::<u32>("epoch")? == epoch { Ok(epoch) } else { Err(StoreError::Altered("accounts")) }
}

fn account(row: &Row, open: Vec<OpenOrder>) -> Result<Account, StoreError> {
    let state = match row.get::<String>("state")?.as_str() {
        "creating" => AccountState::Creating,
        "failed" => AccountState::Failed,
        _ => AccountState::Active {
            certificate: row.read("certificate", "accounts")?,
            key: row.read("outputs", "accounts")?,
        },
    };
    let user_party: Option<u16> = row.get("user_party")?;
    let user_party = user_party.map(PartyIndex::try_from).transpose();
    let claim_hash: Option<Vec<u8>> = row.get("claim_hash")?;
    let claim_hash = claim_hash.map(<[u8; 32]>::try_from).transpose();
    Ok(Account {
        spec: KeySpec {
            account: row.read("id", "accounts")?,
            scheme: row.get("scheme")?,
            protocol: row.get("protocol")?,
            threshold: row.read("threshold", "accounts")?,
            parties: row.read("parties", "accounts")?,
            mandatory: row.read("mandatory", "accounts")?,
        },
        user_id: row.get("user_id")?,
        state,
        user_party: user_party.map_err(|_| StoreError::Malformed("accounts"))?,
        claim_hash: claim_hash.map_err(|_| StoreError::Malformed("accounts"))?,
        open,
        created: UnixMillis(row.get("created")?),
    })
}
