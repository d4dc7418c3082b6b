//! The result of an interrupted request. A request that is repeated under its idempotency key begins here.

use std::sync::Arc;
use std::time::Duration;

use quorate_control_store::{Account, AccountState};
use quorate_core::OrderId;
use quorate_core::code::Code;
use quorate_net::clock::Clock;
use quorate_net::problem::Problem;
use tokio::time::Instant;

use super::RequestIds;
use super::accounts::Accounts;
use super::coordinators::deadline_passed;
use super::limits::TimeLimits;
use super::order_status::{OrderStatus, Orders, ReconciledSession, ReconciledStatus};
use super::present::{session_signing, view};
use super::request::{Creation, RefreshRequest, SignRequest};
use super::submit::ANSWER_GRACE_PERIOD;
use super::user_share::{ShareAnswer, UserShareRequests, refused};
use super::views::{AccountView, SigningView};

/// How often the state of a running session is read while its result is waited for.
const ORDER_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The result of an interrupted request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery<T> {
    /// The request's answer.
    Completed(T),
    /// No session was made for the order so far, or it may have another one. A run with the same ids makes nothing twice.
    Repeatable,
    /// A session that failed.
    Failed,
}

impl<T> Recovery<T> {
    fn of(session: Option<&ReconciledSession>, answer: Option<T>) -> Self {
        match (answer, session) {
            (Some(answer), _) => Self::Completed(answer),
            (None, None) => Self::Repeatable,
            (None, Some(_)) => Self::Failed,
        }
    }
}

/// Finds what interrupted requests have led to.
pub struct Recoverer {
    pub(crate) accounts: Accounts,
    pub(crate) orders: Orders,
    pub(crate) users: UserShareRequests,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: TimeLimits,
}

impl Recoverer {
    /// Finds what has become of an interrupted creation's order.
    ///
    /// # Errors
    /// [`Code::InProgress`] while parties have still to report; otherwise as for reading an account.
    pub async fn recover_account(
        &self,
        ids: RequestIds,
        creation: &Creation,
    ) -> Result<Recovery<AccountView>, Problem> {
        let account = self.accounts.stored(ids.account).await?;
        if let Some(account) = account.filter(|account| account.user_party.is_some()) {
            let recipient = creation.user.as_ref().and_then(|user| user.recipient);
            return self.recover_with_user(&account, ids, recipient).await;
        }
        let session = self.finished_order(ids.order, Duration::ZERO).await?.session;
        let account = self.accounts.stored(ids.account).await?;
        let active = account.filter(|account| matches!(account.state, AccountState::Active { .. }));
        let active = active.as_ref().map(view).transpose()?;
        if active.is_none() && session.is_some() && !self.orders.reconcile(ids.order).await?.has_failed {
            // A second account now would be one too many if the missing promise arrives.
            return Err(still_running());
        }
        Ok(Recovery::of(session.as_ref(), active))
    }

    /// Finds what has become of an interrupted refresh's order.
    ///
    /// # Errors
    /// As for [`Recoverer::recover_account`].
    pub async fn recover_refresh(
        &self,
        ids: RequestIds,
        request: &RefreshRequest,
    ) -> Result<Recovery<AccountView>, Problem> {
        let account = self.accounts.stored(ids.account).await?;
        if let Some(account) = account.filter(|account| account.user_party.is_some()) {
            return self.recover_with_user(&account, ids, request.recipient).await;
        }
        let session = self.finished_order(ids.order, Duration::ZERO).await?.session;
        let account = match &session {
            Some(session) if session.status == ReconciledStatus::Completed => {
                Some(view(&self.accounts.read(ids.account).await?)?)
            }
            _ => None,
        };
        Ok(Recovery::of(session.as_ref(), account))
    }

    /// Finds what has become of an interrupted signing's order.
    ///
    /// # Errors
    /// [`Code::DeadlinePassed`] if a session has not ended in time.
    pub async fn recover_signature(
        &self,
        ids: RequestIds,
        request: &SignRequest,
    ) -> Result<Recovery<SigningView>, Problem> {
        // A coordinator that was lost may still make sessions of the same order, until its time is over.
        let OrderStatus { session, sessions, .. } = self.finished_order(ids.order, self.limits.sign).await?;
        let signing =
            session.as_ref().map(|session| session_signing(request, session)).transpose()?.flatten();
        // A sealed share serves for one order, and for all sessions that the order may have.
        if let (Some(session), None, Some(_)) = (&session, &signing, &request.user_share)
            && sessions < session.order.operation.max_sessions()
        {
            return Ok(Recovery::Repeatable);
        }
        Ok(Recovery::of(session.as_ref(), signing))
    }

    /// Waits until the sessions of an order have ended, and those that may follow a failed one `within` a time;
    /// stores what they have led to.
    async fn finished_order(&self, order: OrderId, within: Duration) -> Result<OrderStatus, Problem> {
        let until = self.wait_deadline();
        loop {
            let status = self.orders.reconcile(order).await?;
            let runs = match &status.session {
                Some(session) if session.status == ReconciledStatus::Completed => false,
                Some(session) => {
                    let now = self.clock.millis();
                    let may_run = session.status == ReconciledStatus::Running && session.deadline >= now;
                    let may_follow = !status.is_final && session.created + within > now;
                    status.in_flight || may_run || may_follow
                }
                None => status.in_flight,
            };
            if !runs {
                return Ok(status);
            }
            if Instant::now() >= until {
                return Err(deadline_passed());
            }
            tokio::time::sleep(ORDER_POLL_INTERVAL).await;
        }
    }

    /// Finds what has become of the order of an interrupted keygen or refresh with a user's share. A share that is
    /// sealed to a recipient whom the order names is waited for.
    async fn recover_with_user(
        &self,
        account: &Account,
        ids: RequestIds,
        recipient: Option<[u8; 32]>,
    ) -> Result<Recovery<AccountView>, Problem> {
        let until = self.wait_deadline();
        loop {
            let OrderStatus { session, in_flight, has_failed, .. } = self.orders.reconcile(ids.order).await?;
            let Some(session) = session else {
                return if in_flight { Err(still_running()) } else { Ok(Recovery::Repeatable) };
            };
            if has_failed {
                return Ok(Recovery::Failed);
            }
            let is_there = match recipient {
                // Its user collects it.
                None => true,
                Some(_) => match self.users.fetch_by_order(ids.order, Duration::ZERO).await? {
                    ShareAnswer::Sealed { .. } => true,
                    ShareAnswer::Refused(failure) => match Code::of(&failure.code) {
                        Some(Code::ShareExpired) => return Ok(Recovery::Failed),
                        Some(Code::SessionNotFound) => false,
                        // And the user has confirmed it.
                        Some(Code::ShareAlreadyDelivered) => true,
                        _ => return Err(refused(failure)),
                    },
                },
            };
            if is_there || session.status == ReconciledStatus::Completed {
                let session_id = Some(session.id.to_string());
                let view = view(&self.accounts.find(account.spec.account).await?)?;
                return Ok(Recovery::Completed(AccountView { session_id, ..view }));
            }
            if self.clock.millis() > session.deadline || Instant::now() >= until {
                // A party has still to say that nothing came of it.
                return Err(still_running());
            }
            tokio::time::sleep(ORDER_POLL_INTERVAL).await;
        }
    }

    /// When a wait ends at the latest: the coordinator says how long a session runs, and may be wrong.
    fn wait_deadline(&self) -> Instant {
        Instant::now() + self.limits.max() + ANSWER_GRACE_PERIOD
    }
}

fn still_running() -> Problem {
    let detail =
        "the result of the first request is not known yet: a party has not reported; try again later";
    Problem::new(Code::InProgress, detail)
}
