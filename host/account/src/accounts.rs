//! Reads accounts; reconciles their open orders first.

use std::sync::Arc;
use std::time::Duration;

use quorate_control_store::{Account, AccountState, OpenOrder};
use quorate_core::code::Code;
use quorate_core::order::MAX_ORDER_LIFETIME;
use quorate_core::{AccountId, OrderId};
use quorate_net::clock::Clock;
use quorate_net::problem::Problem;

use super::current_key::CurrentKey;
use super::order_status::{OrderStatus, Orders};
use super::present::is_pending;
use super::stored_accounts::StoredAccounts;

/// How long after its end an order may still be valid somewhere: clocks of parties may be a minute behind, and
/// that of the coordinator too.
const TOTAL_CLOCK_SKEW: Duration = Duration::from_secs(120);

/// Reads accounts.
#[derive(Clone)]
pub(crate) struct Accounts {
    stored: StoredAccounts,
    orders: Orders,
    clock: Arc<dyn Clock>,
}

impl Accounts {
    pub(crate) fn new(stored: StoredAccounts, orders: Orders, clock: Arc<dyn Clock>) -> Self {
        Self { stored, orders, clock }
    }

    /// The account as it is stored, if there is one.
    pub(crate) async fn stored(&self, id: AccountId) -> Result<Option<Account>, Problem> {
        self.stored.account(id).await
    }

    /// The account as it is stored.
    pub(crate) async fn find(&self, id: AccountId) -> Result<Account, Problem> {
        let account = self.stored(id).await?;
        account.ok_or_else(|| Problem::new(Code::AccountNotFound, "no account has this id"))
    }

    /// Reads the account after its open orders are reconciled.
    pub(crate) async fn read(&self, id: AccountId) -> Result<Account, Problem> {
        let account = self.find(id).await?;
        self.reconcile_open_orders(account).await
    }

    /// An account that can sign, and its key.
    pub(crate) async fn active(&self, id: AccountId) -> Result<(Account, CurrentKey), Problem> {
        let account = self.read(id).await?;
        let not_active = |detail| Err(Problem::new(Code::AccountNotActive, detail));
        match &account.state {
            AccountState::Active { certificate, key } => {
                let current = CurrentKey { certificate: certificate.clone(), outputs: key.clone() };
                Ok((account, current))
            }
            AccountState::Creating if is_pending(&account) => {
                not_active("the account waits for its user to confirm the share")
            }
            AccountState::Creating => not_active("the account's key is still being made: ask for it later"),
            AccountState::Failed => not_active(
                "the account has no key: repeat its creation under the same Idempotency-Key, or create another account",
            ),
        }
    }

    /// An order that is about to be submitted, as the account's record of open orders holds it.
    pub(crate) fn open_order(&self, id: OrderId) -> OpenOrder {
        OpenOrder { id, expires: self.clock.millis() + MAX_ORDER_LIFETIME + TOTAL_CLOCK_SKEW }
    }

    /// Stores the results of open keygens and refreshes, whose responses may have been lost. If the state of an order
    /// can't be read now, the next call reads it; until then the account stays as it is stored.
    async fn reconcile_open_orders(&self, account: Account) -> Result<Account, Problem> {
        if account.open.is_empty() {
            return Ok(account);
        }
        for &OpenOrder { id: order, expires } in &account.open {
            match self.orders.reconcile(order).await {
                Ok(OrderStatus { session: None, in_flight: false, .. }) if self.clock.millis() > expires => {
                    tracing::info!(%order, "an order expired without a session");
                    self.stored.store().close_order(account.spec.account, order).await?;
                    self.stored.store().fail_account(account.spec.account).await?;
                }
                Ok(_) => {}
                Err(problem) => tracing::warn!(%order, %problem, "failed to read the state of an order"),
            }
        }
        self.find(account.spec.account).await
    }
}
