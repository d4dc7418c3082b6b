//! A new row key: rows of earlier keys are authenticated anew, so that those keys can go.

use quorate_backends::database::{StoreError, sql};
use quorate_core::AccountId;

use super::{AccountState, AccountStore};
use crate::accounts::{account_fields, account_row, key_fields, open_order_fields, open_order_rows};

/// How many accounts are read at a time.
const ACCOUNTS_AT_A_TIME: u16 = 100;

impl AccountStore {
    /// Refuses a database that was written under none of the keys.
    pub(crate) async fn check_row_keys(&self) -> Result<(), StoreError> {
        sql("INSERT INTO row_key_check (id, mac) VALUES (1, $1) ON CONFLICT (id) DO NOTHING")
            .bind(self.check_mac())
            .execute(&self.database)
            .await?;
        let row = sql("SELECT mac FROM row_key_check WHERE id = 1").fetch_optional(&self.database).await?;
        let mac: Vec<u8> = row.map(|row| row.get("mac")).transpose()?.unwrap_or_default();
        self.keys.verify("row_key_check", &NO_FIELDS, &mac).map_err(|_| StoreError::WrongRowKeys)
    }

    /// Authenticates the rows of earlier keys under the current one, and says how many accounts there were. Answers to
    /// requests keep theirs until they are forgotten, after a day; then the earlier keys can go.
    ///
    /// # Errors
    /// [`StoreError::Altered`] at the first row that no account service has written.
    pub async fn renew_row_macs(&self) -> Result<u64, StoreError> {
        let (mut renewed, mut last) = (0, Vec::new());
        loop {
            let rows = sql("SELECT id FROM accounts WHERE id > $1 ORDER BY id LIMIT $2")
                .bind(last.as_slice())
                .bind(ACCOUNTS_AT_A_TIME)
                .fetch_all(&self.database)
                .await?;
            for row in &rows {
                renewed += u64::from(self.renew_account(row.read("id", "accounts")?).await?);
            }
            match rows.last() {
                Some(row) => last = row.get("id")?,
                None => break,
            }
        }
        sql("UPDATE row_key_check SET mac = $1").bind(self.check_mac()).execute(&self.database).await?;
        Ok(renewed)
    }

    /// Says whether the account had a row of an earlier key.
    async fn renew_account(&self, id: AccountId) -> Result<bool, StoreError> {
        let mut tx = self.database.begin(id.as_bytes()).await?;
        let Some(row) = account_row(id).fetch_optional(&mut tx).await? else { return Ok(false) };
        let open = open_order_rows(id).fetch_all(&mut tx).await?;
        let account = self.verified(&row, &open)?;
        let mut macs: Vec<Vec<u8>> =
            open.iter().map(|row| row.get("mac")).collect::<Result<_, StoreError>>()?;
        macs.push(row.get("mac")?);
        // An account service that still has the earlier key may have activated it since.
        macs.extend(row.get::<Option<Vec<u8>>>("key_mac")?);
        if macs.iter().all(|mac| mac.starts_with(self.keys.current_id())) {
            return Ok(false);
        }
        let mac = self.keys.authenticate("accounts", &account_fields(&account));
        let key_mac = match &account.state {
            AccountState::Active { key, .. } => {
                Some(self.keys.authenticate("account keys", &key_fields(id, key)))
            }
            AccountState::Creating | AccountState::Failed => None,
        };
        let renewed = sql("UPDATE accounts SET mac = $1, key_mac = $2 WHERE id = $3").bind(mac).bind(key_mac);
        renewed.bind(id.as_bytes()).execute(&mut tx).await?;
        for order in &account.open {
            sql("UPDATE open_orders SET mac = $1 WHERE account = $2 AND order_id = $3")
                .bind(self.keys.authenticate("open_orders", &open_order_fields(id, order)))
                .bind(id.as_bytes())
                .bind(order.id.as_bytes())
                .execute(&mut tx)
                .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    fn check_mac(&self) -> Vec<u8> {
        self.keys.authenticate("row_key_check", &NO_FIELDS)
    }
}

const NO_FIELDS: [&[u8]; 0] = [];
