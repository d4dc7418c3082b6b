//! What sessions have led to, read from what parties reported, now or later.

use bytes::Bytes;
use quorate_control_store::AccountState;
use quorate_core::abort::SignedAbort;
use quorate_core::code::Code;
use quorate_core::codec::decode;
use quorate_core::identity::PublicKey;
use quorate_core::order::{Operation, Order, SignedOrder};
use quorate_core::report::Outcome;
use quorate_core::{Digest, OrderId, SessionId};
use quorate_net::problem::Problem;
use quorate_net::web::params::account_id;
use quorate_proto::v1::session_state::Status;
use quorate_proto::v1::{OrderRequest, OrderState, SessionRequest, SessionState};
use quorate_verify::proof::{Proved, proved, proved_by_promises};
use tonic::Code as Grpc;

use super::AccountService;
use super::present::{internal, signature_view, uuid};
use super::submit::{self, ANSWER, Submitted, client, genuine};
use super::views::{ErrorView, OperationView, SessionView, StatusView};

/// Sessions of one order that are looked at: parties start three at most.
const SESSIONS: usize = 16;

/// What the parties of a session reported, as far as it is genuine.
struct Found {
    order: Order,
    session: SessionId,
    digest: Digest,
    outcomes: Vec<Outcome>,
}

/// The coordinator's record counts for nothing: what it says was ordered must be what we have ordered.
fn found(state: &SessionState, originators: &[PublicKey]) -> Option<Found> {
    let session = SessionId(state.session.as_ref().try_into().ok()?);
    let signed: SignedOrder = decode(&state.order).ok()?;
    let order = signed.read(originators).ok()?;
    let digest = Digest(state.digest.as_ref().try_into().ok()?);
    let outcomes = state.reports.iter().filter_map(|bytes| genuine(&order, session, bytes));
    let outcomes = outcomes.map(|report| report.outcome).collect();
    Some(Found { order, session, digest, outcomes })
}

/// A party's word that it has not promised anything in a session, and never will.
fn is_denial(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { .. } | Outcome::Aborted { notice: Some(_), .. })
}

/// What the coordinator knows of an order, as far as it is about it.
struct Record {
    sessions: Vec<SessionState>,
    /// What is genuine of each.
    found: Vec<Found>,
    in_hand: bool,
    given_up: bool,
}

impl Record {
    /// Whether all parties have said of every session that they have promised nothing: nothing can come of the order any
    /// more, and it holds nothing.
    fn holds_nothing(&self) -> bool {
        let nothing = |found: &Found| {
            found.outcomes.len() == found.order.parties.len() && found.outcomes.iter().all(is_denial)
        };
        self.is_over() && self.found.iter().all(nothing)
    }

    /// Whether a party has said of every session that it will never promise: then there are never n promises, whatever the
    /// others say.
    fn can_not_complete(&self) -> bool {
        self.is_over() && self.found.iter().all(|found| found.outcomes.iter().any(is_denial))
    }

    /// Whether there were sessions, and no other may follow.
    fn is_over(&self) -> bool {
        !self.in_hand && !self.found.is_empty()
    }
}

/// What an order has led to so far.
pub(super) struct Settled {
    /// The session that has a result, or the latest, if any was made.
    pub(super) session: Option<SessionView>,
    /// Whether another session may follow, by the word of the coordinator that has it in hand.
    pub(super) in_hand: bool,
    /// Whether none follows, by the word of the coordinator that had it.
    pub(super) given_up: bool,
    /// Whether nothing can come of it any more, by a party's word.
    pub(super) is_dead: bool,
}

impl AccountService {
    /// Takes note of what an order has led to so far.
    pub(super) async fn settle_order(&self, order: OrderId) -> Result<Settled, Problem> {
        let record = self.record_of(order).await?;
        let Record { in_hand, given_up, .. } = record;
        let (holds_nothing, is_dead) = (record.holds_nothing(), record.can_not_complete());
        let mut settled: Option<SessionView> = None;
        for state in record.sessions {
            let session = self.settle(state).await?;
            let says_more = session.status == StatusView::Completed;
            if settled.as_ref().is_none_or(|settled| says_more && settled.status != StatusView::Completed) {
                settled = Some(session);
            }
        }
        if let Some(session) = settled.as_ref().filter(|session| session.status == StatusView::Failed) {
            let account = account_id(&session.account_id)?;
            if holds_nothing {
                self.store.close_order(account, order).await?;
            }
            if is_dead && session.operation == OperationView::Keygen {
                self.store.fail_account(account).await?;
            }
        }
        Ok(Settled { session: settled, in_hand, given_up, is_dead })
    }

    /// Parties' signed word that they ended the sessions of an order without a promise.
    pub(super) async fn aborts_of(&self, order: OrderId) -> Result<Vec<SignedAbort>, Problem> {
        let found = self.record_of(order).await?.found;
        let notice = |outcome| match outcome {
            Outcome::Aborted { notice, .. } => notice,
            _ => None,
        };
        Ok(found.into_iter().flat_map(|found| found.outcomes).filter_map(notice).collect())
    }

    async fn record_of(&self, order: OrderId) -> Result<Record, Problem> {
        let request = OrderRequest { order: Bytes::copy_from_slice(order.as_bytes()) };
        let asking = self.coordinators.call(ANSWER, |channel| {
            let request = request.clone();
            async { client(channel).order(request).await }
        });
        let state = asking.await.map_err(|status| submit::problem(&status))?.into_inner();
        let OrderState { mut sessions, in_hand, given_up } = state;
        sessions.truncate(SESSIONS);
        let about_it = |state| found(state, &self.originators).filter(|found| found.order.id == order);
        let found: Option<Vec<Found>> = sessions.iter().map(about_it).collect();
        let found = found.ok_or_else(|| internal("the coordinator answered with another order"))?;
        Ok(Record { sessions, found, in_hand, given_up })
    }

    pub(super) async fn session_state(&self, id: SessionId) -> Result<SessionState, Problem> {
        let none =
            || Problem::new(Code::SessionNotFound, "no session has this id, or it is older than 30 days");
        let request = SessionRequest { session: Bytes::copy_from_slice(id.as_bytes()) };
        let asking = self.coordinators.call(ANSWER, |channel| {
            let request = request.clone();
            async { client(channel).session(request).await }
        });
        match asking.await {
            Ok(state) => {
                Some(state.into_inner()).filter(|s| s.session.as_ref() == id.as_bytes()).ok_or_else(none)
            }
            Err(status) if status.code() == Grpc::NotFound => Err(none()),
            Err(status) => Err(submit::problem(&status)),
        }
    }

    /// Takes note of what a session has led to, by what proves itself.
    pub(super) async fn settle(&self, state: SessionState) -> Result<SessionView, Problem> {
        let Found { order, session, digest, outcomes } = found(&state, &self.originators)
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
