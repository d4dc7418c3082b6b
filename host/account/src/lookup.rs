//! Accounts and sessions as they are known now.

use quorate_control_store::{Account, AccountState, OpenOrder};
use quorate_core::certificate::{Certificate, KeyOutputs};
use quorate_core::code::Code;
use quorate_core::order::LIFETIME;
use quorate_core::{AccountId, OrderId, SessionId};
use quorate_net::problem::Problem;

use super::AccountService;
use super::order_status::Settled;
use super::present::{is_pending, view};
use super::views::{AccountView, SessionView};

/// How long after its end an order may still be good for something somewhere, in seconds: clocks of parties may be a minute
/// behind, and that of the coordinator too.
const CLOCKS_APART: u64 = 120;

impl AccountService {
    /// An account.
    ///
    /// # Errors
    /// A problem for the caller.
    pub async fn account(&self, id: AccountId) -> Result<AccountView, Problem> {
        view(&self.look_again(self.find(id).await?).await?)
    }

    /// A session. What it has led to is taken note of.
    ///
    /// # Errors
    /// A problem for the caller.
    pub async fn session(&self, id: SessionId) -> Result<SessionView, Problem> {
        let state = self.session_state(id).await?;
        self.settle(state).await
    }

    /// An order that is about to be given, as what is open of an account.
    pub(super) fn open_order(&self, id: OrderId) -> OpenOrder {
        let over = self.clock.seconds().saturating_add(LIFETIME + CLOCKS_APART);
        OpenOrder { id, expires: over.saturating_mul(1_000) }
    }

    /// The answer to a keygen or refresh may have been lost: looks at what has come of it. What can't be looked at now is
    /// looked at next time; the account goes on as it is known.
    async fn look_again(&self, account: Account) -> Result<Account, Problem> {
        if account.open.is_empty() {
            return Ok(account);
        }
        for &OpenOrder { id: order, expires } in &account.open {
            match self.settle_order(order).await {
                Ok(Settled { session: None, in_hand: false, .. }) if self.clock.millis() > expires => {
                    tracing::info!(%order, "no session was made for an order, and none can be any more");
                    self.store.close_order(account.id, order).await?;
                    self.store.fail_account(account.id).await?;
                }
                Ok(_) => {}
                Err(problem) => {
                    tracing::warn!(%order, %problem, "what came of an order could not be looked at");
                }
            }
        }
        self.find(account.id).await
    }

    pub(super) async fn find(&self, id: AccountId) -> Result<Account, Problem> {
        let account = self.store.account(id).await?;
        account.ok_or_else(|| Problem::new(Code::AccountNotFound, "no account has this id"))
    }

    pub(super) async fn active(
        &self,
        id: AccountId,
    ) -> Result<(Account, (Certificate, KeyOutputs)), Problem> {
        let account = self.look_again(self.find(id).await?).await?;
        match &account.state {
            AccountState::Active { certificate, key } => {
                let current = (certificate.clone(), key.clone());
                Ok((account, current))
            }
            AccountState::Creating if is_pending(&account) => Err(Problem::new(
                Code::AccountNotActive,
                "the account waits for its user to confirm the share",
            )),
            AccountState::Creating => Err(Problem::new(
                Code::AccountNotActive,
                "the account's key is still being made: ask for it later",
            )),
            AccountState::Failed => Err(Problem::new(
                Code::AccountNotActive,
                "the account's key generation has failed: create another account",
            )),
        }
    }
}
