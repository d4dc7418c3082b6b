//! What an interrupted request has led to: a request that is made again under its idempotency key begins here.

use std::time::Duration;

use quorate_control_store::{Account, AccountState};
use quorate_core::OrderId;
use quorate_core::code::Code;
use quorate_net::problem::Problem;
use quorate_proto::v1::share_request::Which;
use tokio::time::Instant;

use super::order_status::Settled;
use super::present::view;
use super::request::{Creation, RefreshRequest};
use super::submit::{self, LATE};
use super::user_share::{order_bytes, refused};
use super::views::{AccountView, SessionView, SignatureView, StatusView};
use super::{AccountService, Subject};

/// How often a session that runs is looked at, when its result is waited for.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What an interrupted request has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interrupted<T> {
    /// Its answer.
    Answer(T),
    /// Nothing so far: no session was made for its order. Whoever goes on with the same ids makes nothing twice.
    Nothing,
    /// A session that failed.
    Failed,
}

impl<T> Interrupted<T> {
    fn of(session: Option<&SessionView>, answer: Option<T>) -> Self {
        match (answer, session) {
            (Some(answer), _) => Self::Answer(answer),
            (None, None) => Self::Nothing,
            (None, Some(_)) => Self::Failed,
        }
    }
}

impl AccountService {
    /// What became of the order of an interrupted creation.
    ///
    /// # Errors
    /// A problem for the caller.
    pub async fn created(
        &self,
        subject: Subject,
        creation: &Creation,
    ) -> Result<Interrupted<AccountView>, Problem> {
        let account = self.store.account(subject.account).await?;
        if let Some(account) = account.filter(|account| account.user_party.is_some()) {
            let recipient = creation.user.as_ref().and_then(|user| user.recipient);
            return self.found_with_user(&account, subject, recipient).await;
        }
        let session = self.settled_order(subject.order, Duration::ZERO).await?;
        let account = self.store.account(subject.account).await?;
        let active = account.filter(|account| matches!(account.state, AccountState::Active { .. }));
        let active = active.as_ref().map(view).transpose()?;
        if active.is_none() && session.is_some() && !self.settle_order(subject.order).await?.is_dead {
            // A second account now could become one too many when the missing promise turns up.
            return Err(still_running());
        }
        Ok(Interrupted::of(session.as_ref(), active))
    }

    /// What became of the order of an interrupted refresh.
    ///
    /// # Errors
    /// A problem for the caller.
    pub async fn refreshed(
        &self,
        subject: Subject,
        request: &RefreshRequest,
    ) -> Result<Interrupted<AccountView>, Problem> {
        let account = self.store.account(subject.account).await?;
        if let Some(account) = account.filter(|account| account.user_party.is_some()) {
            return self.found_with_user(&account, subject, request.recipient).await;
        }
        let session = self.settled_order(subject.order, Duration::ZERO).await?;
        let account = match &session {
            Some(session) if session.status == StatusView::Completed => {
                Some(self.account(subject.account).await?)
            }
            _ => None,
        };
        Ok(Interrupted::of(session.as_ref(), account))
    }

    /// What became of the order of an interrupted signing.
    ///
    /// # Errors
    /// A problem for the caller.
    pub async fn signed(&self, subject: Subject) -> Result<Interrupted<SignatureView>, Problem> {
        // A coordinator that nobody hears of any more may still make sessions of the same order, until its time is over.
        let session = self.settled_order(subject.order, self.limits.sign).await?;
        let signature = session.as_ref().and_then(|session| session.signature.clone());
        Ok(Interrupted::of(session.as_ref(), signature))
    }

    /// Waits until the sessions of an order are over, and those that may follow one that has failed `within` a time; takes
    /// note of what they have led to.
    async fn settled_order(&self, order: OrderId, within: Duration) -> Result<Option<SessionView>, Problem> {
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        // The coordinator says how long: it is not to be believed for ever.
        let until = Instant::now() + self.longest() + LATE;
        loop {
            let Settled { session, in_hand, given_up, .. } = self.settle_order(order).await?;
            let runs = match &session {
                Some(session) if session.status == StatusView::Completed => false,
                Some(session) => {
                    let now = self.clock.millis();
                    let may = session.status == StatusView::Running && session.deadline_at_ms >= now;
                    in_hand || may || !given_up && session.created_at_ms.saturating_add(within) > now
                }
                None => in_hand,
            };
            if !runs {
                return Ok(session);
            }
            if Instant::now() >= until {
                return Err(submit::too_late());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// What became of the order of an interrupted keygen or refresh with a user's share. A share that is sealed to
    /// somebody whom the order names is waited for.
    pub(super) async fn found_with_user(
        &self,
        account: &Account,
        subject: Subject,
        recipient: Option<[u8; 32]>,
    ) -> Result<Interrupted<AccountView>, Problem> {
        // The coordinator says how long: it is not to be believed for ever.
        let until = Instant::now() + self.longest() + LATE;
        loop {
            let Settled { session, in_hand, is_dead, .. } = self.settle_order(subject.order).await?;
            let Some(session) = session else {
                return if in_hand { Err(still_running()) } else { Ok(Interrupted::Nothing) };
            };
            if is_dead {
                return Ok(Interrupted::Failed);
            }
            let is_there = match recipient {
                // Its user comes for it.
                None => true,
                Some(_) => {
                    match self.share(Which::Order(order_bytes(subject.order)), Duration::ZERO).await? {
                        Ok(_) => true,
                        Err(failure) => match Code::of(&failure.code) {
                            Some(Code::ShareExpired) => return Ok(Interrupted::Failed),
                            Some(Code::SessionNotFound) => false,
                            // And the user has confirmed it.
                            Some(Code::ShareAlreadyDelivered) => true,
                            _ => return Err(refused(failure)),
                        },
                    }
                }
            };
            if is_there || session.status == StatusView::Completed {
                let session_id = Some(session.id);
                let view = view(&self.find(account.id).await?)?;
                return Ok(Interrupted::Answer(AccountView { session_id, ..view }));
            }
            if self.clock.millis() > session.deadline_at_ms || Instant::now() >= until {
                // A party has still to say that nothing came of it.
                return Err(still_running());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

pub(super) fn still_running() -> Problem {
    let detail =
        "it is not known yet what came of the first request: a party has still to tell; try again later";
    Problem::new(Code::InProgress, detail)
}
