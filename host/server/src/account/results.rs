//! What sessions have led to, read from what parties reported, now or later.

use std::time::Duration;

use bytes::Bytes;
use quorate_broker::store::AccountState;
use quorate_core::abort::SignedAbort;
use quorate_core::certificate::KeyOutputs;
use quorate_core::codec::decode;
use quorate_core::identity::PublicKey;
use quorate_core::order::{Operation, Order, SignedOrder};
use quorate_core::report::Outcome;
use quorate_core::{AccountId, Digest, OrderId, SessionId};
use quorate_proto::v1::session_request::Which;
use quorate_proto::v1::session_state::Status;
use quorate_proto::v1::{SessionRequest, SessionState};
use tokio::time::Instant;
use tonic::Code as Grpc;

use super::submit::{self, LATE, Submitted, answered, genuine};
use super::views::{ErrorView, OperationView, SessionView, SignatureView, StatusView};
use super::{AccountService, AccountView, Subject, keys};
use crate::code::Code;
use crate::problem::Problem;
use crate::proof::{Proved, proved, proved_by_promises};
use crate::verify;

/// How often a session that runs is looked at, when its result is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

fn uuid(account: AccountId) -> String {
    uuid::Uuid::from_bytes(account.0).to_string()
}

fn internal(detail: &str) -> Problem {
    Problem::new(Code::Internal, detail)
}

/// A proved signature in all its forms.
pub(super) fn signature_view(
    order: &Order,
    key: &KeyOutputs,
    result: &Submitted,
    milliseconds: u64,
) -> Result<SignatureView, Problem> {
    let (Proved::Signature(signature), Operation::Sign(signing)) = (&result.proved, &order.operation) else {
        return Err(internal("a key where a signature was asked for"));
    };
    let unshowable = |_| internal("a signature that verified can't be shown");
    let signed_by = verify::child_key(&key.public_key.0, key.chain_code.as_ref(), &signing.path);
    let mut view = SignatureView {
        account_id: uuid(order.account),
        session_id: result.session.to_string(),
        scheme: order.scheme.clone(),
        digest: hex::encode(verify::digest(signing).map_err(unshowable)?),
        r: String::new(),
        s: String::new(),
        recovery_id: 0,
        signature: String::new(),
        der: String::new(),
        public_key: hex::encode(signed_by.map_err(unshowable)?.serialize()),
        signers: result.signers.clone(),
        plugin_digest: result.digest.to_string(),
        milliseconds,
    };
    keys::put_signature(&mut view, signature);
    Ok(view)
}

/// What the parties of a session reported, as far as it is genuine.
struct Found {
    order: Order,
    session: SessionId,
    digest: Digest,
    outcomes: Vec<Outcome>,
}

/// The coordinator's record counts for nothing: what it says was ordered must be what we have ordered.
fn found(state: &SessionState, originator: PublicKey) -> Option<Found> {
    let session = SessionId(state.session.as_ref().try_into().ok()?);
    let signed: SignedOrder = decode(&state.order).ok()?;
    let order = signed.read(&[originator]).ok()?;
    let digest = Digest(state.digest.as_ref().try_into().ok()?);
    let outcomes = state.reports.iter().filter_map(|bytes| genuine(&order, session, bytes));
    let outcomes = outcomes.map(|report| report.outcome).collect();
    Some(Found { order, session, digest, outcomes })
}

/// Whether all parties have said that they have promised nothing: nothing can come of the session any more.
fn holds_nothing(state: &SessionState, originator: PublicKey) -> bool {
    found(state, originator).is_some_and(|found| {
        let nothing = |outcome: &Outcome| {
            matches!(outcome, Outcome::Refused { .. } | Outcome::Aborted { notice: Some(_), .. })
        };
        found.outcomes.len() == found.order.parties.len() && found.outcomes.iter().all(nothing)
    })
}

/// Whether a party has said that it will never promise: then there are never n promises, whatever the others say.
fn can_not_complete(state: &SessionState, originator: PublicKey) -> bool {
    found(state, originator).is_some_and(|found| {
        let never = |outcome: &Outcome| {
            matches!(outcome, Outcome::Refused { .. } | Outcome::Aborted { notice: Some(_), .. })
        };
        found.outcomes.iter().any(never)
    })
}

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
    pub async fn created(&self, subject: Subject) -> Result<Interrupted<AccountView>, Problem> {
        let account = self.store.account(subject.account).await?;
        if let Some(account) = account.filter(|account| account.user_party.is_some()) {
            return self.found_with_user(&account, subject).await;
        }
        let session = self.settled_order(subject.order).await?;
        let account = self.store.account(subject.account).await?;
        let active = account.filter(|account| matches!(account.state, AccountState::Active { .. }));
        let active = active.as_ref().map(super::view).transpose()?;
        if active.is_none()
            && let Some(state) = self.state_of(subject.order).await?
            && !can_not_complete(&state, self.originator())
        {
            // A second account now could become one too many when the missing promise turns up.
            return Err(Problem::new(
                Code::InProgress,
                "it is not known yet what came of the first request: a party has still to tell; try again later",
            ));
        }
        Ok(Interrupted::of(session.as_ref(), active))
    }

    /// What became of the order of an interrupted refresh.
    ///
    /// # Errors
    /// A problem for the caller.
    pub async fn refreshed(&self, subject: Subject) -> Result<Interrupted<AccountView>, Problem> {
        let account = self.store.account(subject.account).await?;
        if let Some(account) = account.filter(|account| account.user_party.is_some()) {
            return self.found_with_user(&account, subject).await;
        }
        let session = self.settled_order(subject.order).await?;
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
        let session = self.settled_order(subject.order).await?;
        let signature = session.as_ref().and_then(|session| session.signature.clone());
        Ok(Interrupted::of(session.as_ref(), signature))
    }

    /// Waits until the sessions of an order are over, and takes note of what they have led to.
    async fn settled_order(&self, order: OrderId) -> Result<Option<SessionView>, Problem> {
        // The coordinator says how long: it is not to be believed for ever.
        let until = Instant::now() + self.longest() + LATE;
        loop {
            let session = self.settle_order(order).await?;
            let runs = session.as_ref().is_some_and(|(session, in_hand)| {
                let runs =
                    session.status == StatusView::Running && session.deadline_at_ms >= self.clock.millis();
                runs || *in_hand && session.status != StatusView::Completed
            });
            if runs && Instant::now() >= until {
                return Err(submit::too_late());
            }
            if !runs {
                return Ok(session.map(|(session, _)| session));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Takes note of what an order has led to so far, if any session was made for it.
    pub(super) async fn settle_order(&self, order: OrderId) -> Result<Option<(SessionView, bool)>, Problem> {
        let Some(state) = self.state_of(order).await? else { return Ok(None) };
        let in_hand = state.in_hand;
        let is_over = !in_hand && holds_nothing(&state, self.originator());
        let is_dead = !in_hand && can_not_complete(&state, self.originator());
        let session = self.settle(state).await?;
        if is_over && session.status == StatusView::Failed {
            let account = crate::account::account_id(&session.account_id)?;
            self.store.close_order(account, order).await?;
        }
        if is_dead && session.status == StatusView::Failed && session.operation == OperationView::Keygen {
            self.store.fail_account(crate::account::account_id(&session.account_id)?).await?;
        }
        Ok(Some((session, in_hand)))
    }

    /// Whether nothing can come of an order any more, by a party's word.
    pub(super) async fn is_dead(&self, order: OrderId) -> Result<bool, Problem> {
        let state = self.state_of(order).await?;
        Ok(state.is_some_and(|state| !state.in_hand && can_not_complete(&state, self.originator())))
    }

    /// Parties' signed word that they ended the session of an order without a promise.
    pub(super) async fn aborts_of(&self, order: OrderId) -> Result<Vec<SignedAbort>, Problem> {
        let Some(state) = self.state_of(order).await? else { return Ok(vec![]) };
        let outcomes = found(&state, self.originator()).map(|found| found.outcomes).unwrap_or_default();
        let notice = |outcome| match outcome {
            Outcome::Aborted { notice, .. } => notice,
            _ => None,
        };
        Ok(outcomes.into_iter().filter_map(notice).collect())
    }

    async fn state_of(&self, order: OrderId) -> Result<Option<SessionState>, Problem> {
        let state = self.state(Which::Order(Bytes::copy_from_slice(order.as_bytes()))).await?;
        let Some(state) = state else { return Ok(None) };
        match found(&state, self.originator()) {
            Some(found) if found.order.id == order => Ok(Some(state)),
            _ => Err(internal("the coordinator answered with another order")),
        }
    }

    pub(super) async fn session_state(&self, id: SessionId) -> Result<SessionState, Problem> {
        let which = Which::Session(Bytes::copy_from_slice(id.as_bytes()));
        let state = self.state(which).await?.filter(|state| state.session.as_ref() == id.as_bytes());
        state.ok_or_else(|| {
            Problem::new(Code::SessionNotFound, "no session has this id, or it is older than 30 days")
        })
    }

    async fn state(&self, which: Which) -> Result<Option<SessionState>, Problem> {
        let request = SessionRequest { which: Some(which) };
        let asking = self.coordinators.call(|channel| {
            let request = request.clone();
            async { super::client(channel).session(request).await }
        });
        match answered(asking).await {
            Ok(state) => Ok(Some(state.into_inner())),
            Err(status) if status.code() == Grpc::NotFound => Ok(None),
            Err(status) => Err(submit::problem(&status)),
        }
    }

    /// Takes note of what a session has led to, by what proves itself.
    pub(super) async fn settle(&self, state: SessionState) -> Result<SessionView, Problem> {
        let Found { order, session, digest, outcomes } = found(&state, self.originator())
            .ok_or_else(|| internal("the coordinator's record makes no sense"))?;
        let account = self.store.account(order.account).await?;
        let key = account.and_then(|account| match account.state {
            AccountState::Active { key, .. } => Some(key),
            _ => None,
        });
        let chain_code = key.as_ref().and_then(|key| key.chain_code);
        let result = outcomes
            .iter()
            .find_map(|outcome| proved(&order, chain_code.as_ref(), outcome))
            .or_else(|| proved_by_promises(&order, chain_code.as_ref(), &outcomes));
        let is_proved = result.is_some();
        let signers: Vec<u16> = state.signers.iter().filter_map(|s| u16::try_from(*s).ok()).collect();
        let mut signature = None;
        match result {
            Some(Proved::Shares { certificate, key }) => {
                self.store.activate_account(&certificate, &key).await?
            }
            Some(proved @ Proved::Signature(_)) => {
                let took = state.ended_ms.saturating_sub(state.created_ms);
                let submitted = Submitted { proved, session, signers: signers.clone(), digest };
                let key = key.ok_or_else(|| internal("a signature of an account without a key"))?;
                signature = Some(signature_view(&order, &key, &submitted, took)?);
            }
            None => {}
        }
        let status = match state.status() {
            _ if is_proved => StatusView::Completed,
            Status::Running => StatusView::Running,
            _ => StatusView::Failed,
        };
        let error = state.failure.filter(|_| !is_proved).map(|failure| ErrorView {
            code: failure.code,
            reason: failure.reason,
            culprits: failure.culprits.iter().filter_map(|c| u16::try_from(*c).ok()).collect(),
        });
        Ok(SessionView {
            id: session.to_string(),
            account_id: uuid(order.account),
            operation: match order.operation {
                Operation::Keygen => OperationView::Keygen,
                Operation::Sign(_) => OperationView::Sign,
                Operation::Refresh => OperationView::Refresh,
            },
            status,
            signers,
            plugin_digest: digest.to_string(),
            created_at_ms: state.created_ms,
            deadline_at_ms: state.deadline_ms,
            ended_at_ms: Some(state.ended_ms).filter(|&ms| ms > 0),
            signature,
            error,
        })
    }
}
