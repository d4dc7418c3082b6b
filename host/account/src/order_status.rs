//! The results of orders and sessions, read from what parties reported, now or later.

use std::collections::BTreeMap;

use quorate_control_store::AccountState;
use quorate_core::abort::SignedAbort;
use quorate_core::certificate::KeyOutputs;
use quorate_core::code::Code;
use quorate_core::codec::decode;
use quorate_core::identity::PublicKey;
use quorate_core::order::{Operation, Order, SignedOrder};
use quorate_core::report::Outcome;
use quorate_core::{Digest, OrderId, PartyIndex, SessionId, UnixMillis};
use quorate_net::problem::Problem;
use quorate_proto::convert::{digest, session_id};
use quorate_proto::v1::session_state::Status;
use quorate_proto::v1::{Failure, OrderState, SessionState};
use quorate_verify::proof::{Proved, proved, proved_together};

use super::coordinators::Coordinators;
use super::originator::Originator;
use super::stored_accounts::StoredAccounts;
use super::submit::{OrderResult, known_parties, verify_report};

/// The most sessions of one order that are read: coordinators start three at most.
const MAX_SESSIONS_READ: usize = 16;

/// A session as a coordinator recorded it, reduced to what the signatures in it prove.
struct VerifiedRecord {
    order: Order,
    session: SessionId,
    digest: Digest,
    outcomes: BTreeMap<PartyIndex, Outcome>,
}

/// Reads a coordinator's record of a session; `None` unless its order is signed by one of the originators.
fn verified_record(state: &SessionState, originators: &[PublicKey]) -> Option<VerifiedRecord> {
    let session = session_id(&state.session).ok()?;
    let signed: SignedOrder = decode(&state.order).ok()?;
    let order = signed.read(originators).ok()?;
    let digest = digest(&state.digest).ok()?;
    let outcomes = state.reports.iter().filter_map(|bytes| verify_report(&order, session, bytes));
    let outcomes = outcomes.map(|report| (report.by, report.outcome)).collect();
    Some(VerifiedRecord { order, session, digest, outcomes })
}

/// Whether a party states that it has promised nothing in a session, and never will.
fn is_denial(outcome: &Outcome) -> bool {
    outcome.denial().is_some()
}

/// The coordinator's record of an order, as far as it is about this order.
struct OrderRecord {
    sessions: Vec<SessionState>,
    /// The verified part of each session's record.
    verified: Vec<VerifiedRecord>,
    in_flight: bool,
    is_final: bool,
}

impl OrderRecord {
    /// Whether all parties have said of every session that they have promised nothing: nothing can come of the order
    /// any more, and no share is held for it.
    fn is_empty(&self) -> bool {
        let all_denied = |record: &VerifiedRecord| {
            record.outcomes.len() == record.order.spec.parties.len()
                && record.outcomes.values().all(is_denial)
        };
        self.is_over() && self.verified.iter().all(all_denied)
    }

    /// Whether a party has said of every session that it will never promise: then there are never n promises,
    /// whatever the others say.
    fn cannot_complete(&self) -> bool {
        self.is_over() && self.verified.iter().all(|record| record.outcomes.values().any(is_denial))
    }

    /// Whether there were sessions, and no other may follow.
    fn is_over(&self) -> bool {
        !self.in_flight && !self.verified.is_empty()
    }
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReconciledStatus {
    /// It has no result yet.
    Running,
    /// It has a result that proves itself.
    Completed,
    /// It has ended without one, as far as is known.
    Failed,
}

/// A session of an order, and what its verified reports prove.
pub(crate) struct ReconciledSession {
    pub(crate) order: Order,
    pub(crate) id: SessionId,
    /// The component that its parties run.
    pub(crate) digest: Digest,
    pub(crate) signers: Vec<PartyIndex>,
    pub(crate) status: ReconciledStatus,
    pub(crate) created: UnixMillis,
    pub(crate) deadline: UnixMillis,
    pub(crate) ended: Option<UnixMillis>,
    /// The signatures, if it has made them.
    pub(crate) signed: Option<SignedResult>,
    /// Why it failed, as the coordinator says.
    pub(crate) failure: Option<Failure>,
}

/// Signatures, and the key of the account that they were made with.
pub(crate) struct SignedResult {
    pub(crate) key: KeyOutputs,
    pub(crate) result: OrderResult,
}

/// The results of an order so far.
pub(crate) struct OrderStatus {
    /// The session that has a result, or the latest, if any was made.
    pub(crate) session: Option<ReconciledSession>,
    /// How many sessions were made, without those for which a party had no room: they count for nothing.
    pub(crate) sessions: u32,
    /// Whether a coordinator still drives the order: another session may follow.
    pub(crate) in_flight: bool,
    /// Whether the coordinator that drove the order says that no session follows.
    pub(crate) is_final: bool,
    /// Whether a party's statement excludes any result.
    pub(crate) has_failed: bool,
}

/// Reads what orders have led to, and stores the results that prove themselves.
#[derive(Clone)]
pub(crate) struct Orders {
    stored: StoredAccounts,
    coordinators: Coordinators,
    originator: Originator,
}

impl Orders {
    pub(crate) fn new(stored: StoredAccounts, coordinators: Coordinators, originator: Originator) -> Self {
        Self { stored, coordinators, originator }
    }

    /// Stores what an order has led to so far.
    pub(crate) async fn reconcile(&self, order: OrderId) -> Result<OrderStatus, Problem> {
        let record = self.record_of(order).await?;
        let OrderRecord { in_flight, is_final, .. } = record;
        let (is_empty, has_failed) = (record.is_empty(), record.cannot_complete());
        let had_no_room = |state: &&SessionState| {
            state.failure.as_ref().is_some_and(|failure| failure.code == Code::Overloaded.text())
        };
        let sessions = record.sessions.iter().filter(|state| !had_no_room(state)).count();
        let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
        let mut latest: Option<ReconciledSession> = None;
        for state in record.sessions {
            let session = self.reconcile_session(state).await?;
            let is_completed = |session: &ReconciledSession| session.status == ReconciledStatus::Completed;
            if latest.as_ref().is_none_or(|latest| is_completed(&session) && !is_completed(latest)) {
                latest = Some(session);
            }
        }
        if let Some(session) = latest.as_ref().filter(|session| session.status == ReconciledStatus::Failed) {
            let account = session.order.spec.account;
            if is_empty {
                self.stored.store().close_order(account, order).await?;
            }
            if has_failed && session.order.operation == Operation::Keygen {
                self.stored.store().fail_account(account).await?;
            }
        }
        Ok(OrderStatus { session: latest, sessions, in_flight, is_final, has_failed })
    }

    /// The notices that parties signed when they ended the order's sessions without a promise.
    pub(crate) async fn aborts_of(&self, order: OrderId) -> Result<Vec<SignedAbort>, Problem> {
        let records = self.record_of(order).await?.verified;
        let outcomes = records.iter().flat_map(|record| record.outcomes.values());
        Ok(outcomes.filter_map(Outcome::denial).cloned().collect())
    }

    /// Stores what a session has led to.
    pub(crate) async fn read_and_reconcile(&self, id: SessionId) -> Result<ReconciledSession, Problem> {
        let state = self.coordinators.fetch_session(id).await?;
        self.reconcile_session(state).await
    }

    async fn record_of(&self, order: OrderId) -> Result<OrderRecord, Problem> {
        let OrderState { mut sessions, in_flight, is_final } = self.coordinators.fetch_order(order).await?;
        sessions.truncate(MAX_SESSIONS_READ);
        let of_this_order = |state| {
            let record = verified_record(state, self.originator.known());
            record.filter(|record| record.order.id == order)
        };
        let verified: Option<Vec<VerifiedRecord>> = sessions.iter().map(of_this_order).collect();
        let verified =
            verified.ok_or_else(|| Problem::internal("the coordinator answered with another order"))?;
        Ok(OrderRecord { sessions, verified, in_flight, is_final })
    }

    /// Stores what a session has led to, as far as reports prove it.
    async fn reconcile_session(&self, state: SessionState) -> Result<ReconciledSession, Problem> {
        let VerifiedRecord { order, session, digest, outcomes } =
            verified_record(&state, self.originator.known())
                .ok_or_else(|| Problem::internal("the coordinator returned an invalid record"))?;
        // An order of another time or of another key of these originators proves nothing about this account.
        let account = self.stored.account(order.spec.account).await?;
        // The parties of a genuine order are those that the account had then; only those of now give it new shares.
        let account = account.filter(|account| account.spec.is_of_same_key(&order.spec));
        let is_about_account = account.is_some();
        let former = order.former_spec();
        let has_its_parties =
            account.as_ref().is_some_and(|account| account.spec == order.spec || account.spec == *former);
        let key = account.and_then(|account| match account.state {
            AccountState::Active { key, .. } => Some(key),
            AccountState::Creating | AccountState::Failed => None,
        });
        let is_about_key = match (&order.operation, &key) {
            (operation, _) if operation.makes_shares() => true,
            (_, Some(key)) => key.public_key == order.public_key,
            (_, None) => false,
        };
        let chain_code = key.as_ref().and_then(|key| key.chain_code);
        let result = outcomes.values().find_map(|outcome| proved(&order, chain_code.as_ref(), outcome));
        let signers = known_parties(&state.signers);
        let result = result
            .or_else(|| proved_together(&order, chain_code.as_ref(), &signers, &outcomes))
            .filter(|_| is_about_account && is_about_key);
        let is_proved = result.is_some();
        let mut signed = None;
        match result {
            // Shares that former parties once made are a result too, and not the account's of now.
            Some(Proved::Shares { certificate, key }) if has_its_parties => {
                self.stored.store().activate_account(&order.spec, &certificate, &key).await?
            }
            Some(proved @ Proved::Signatures(_)) => {
                let result = OrderResult {
                    proved,
                    session,
                    signers: signers.clone(),
                    digest,
                    presignatures_left: None,
                };
                let key = key.ok_or_else(|| Problem::internal("a signature of an account without a key"))?;
                signed = Some(SignedResult { key, result });
            }
            Some(Proved::Presignatures(_) | Proved::Shares { .. }) | None => {}
        }
        let status = match state.status() {
            _ if is_proved => ReconciledStatus::Completed,
            Status::Running => ReconciledStatus::Running,
            _ => ReconciledStatus::Failed,
        };
        Ok(ReconciledSession {
            order,
            id: session,
            digest,
            signers,
            status,
            created: UnixMillis(state.created_ms),
            deadline: UnixMillis(state.deadline_ms),
            ended: Some(UnixMillis(state.ended_ms)).filter(|ended| ended.0 > 0),
            signed,
            failure: state.failure.filter(|_| !is_proved),
        })
    }
}
