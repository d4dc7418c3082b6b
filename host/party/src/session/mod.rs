//! One session of a party, as phases that consume one another.
//!
//! ```text
//! connect → drive → Ended::Done    → verify, record, report           → linger               (a signature)
//!                                  → stock, report                    → linger               (prepared material)
//!                                  → store, promise, wait, activate   → broadcast            (a share that the party keeps)
//!                                  → wait, deliver, wait for the user → broadcast            (a share that a user keeps)
//!                 → Ended::Aborted → report                           → linger
//! ```
//!
//! | module | phase |
//! |---|---|
//! | [`connection`] | joins the session at a router |
//! | [`driver`] | exchanges frames and steps the component until the protocol has ended |
//! | [`session_pool`] | gives the component the presignatures that its plan names |
//! | [`peer_checks`] | asks the party's store about its peers |
//! | [`outcome`] | holds what the protocol has made against the order |
//! | [`activation`], [`delivery`] | see a new share through, with its party or with its user |
//! | [`linger`] | goes on answering peers, when this party has its result |

mod activation;
mod connection;
mod context;
mod delivery;
mod driver;
mod linger;
mod outcome;
mod peer_checks;
pub(crate) mod running_sessions;
pub(crate) mod sandbox;
pub(crate) mod session_pool;

use std::sync::Arc;

use quorate_backends::database::StoreError;
use quorate_core::abort::{Abort, AbortCode};
use quorate_core::admission::Admitted;
use quorate_core::order::{Operation, Order};
use quorate_core::plan::Plan;
use quorate_core::report::Outcome;
use quorate_core::user_share::ShareEntries;
use quorate_party_store::{AdmissionFacts, Started};
use quorate_runtime::ComponentOutcome;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use crate::party::Party;
use crate::recovery;
use crate::registry::RegisteredPlugin;
use crate::user::custody::{Custody, ShareMatch};
use connection::Connection;
use context::{PhaseError, SessionContext};
use driver::{Ended, ProtocolResult};
use sandbox::ComponentTask;

/// A session that this party has taken on and claimed.
pub struct SessionTask {
    context: SessionContext,
    /// Lets this party into the session at the routers.
    token: String,
    component: ComponentTask,
    custody: Custody,
}

impl SessionTask {
    pub(crate) fn new(
        party: Arc<Party>,
        plan: Plan,
        token: String,
        admitted: Admitted,
        (entry, component): (RegisteredPlugin, ComponentTask),
        facts: AdmissionFacts,
        custody: Custody,
    ) -> Self {
        let context = SessionContext::new(party, plan, admitted, entry, component.need, facts);
        Self { context, token, component, custody }
    }

    /// The record of this session in the party's store.
    pub(crate) fn started(&self) -> Started {
        self.context.started()
    }

    /// The order that it carries out.
    pub(crate) fn order(&self) -> &Order {
        self.context.order()
    }

    /// Holds a permit until the session has nothing left to compute.
    pub(crate) fn with_permit(self, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { context: self.context.with_permit(permit), ..self }
    }

    /// Runs the session to its end. `None` is for a share that its user has not confirmed yet: there is nothing to
    /// report.
    pub async fn run(self) -> Option<Outcome> {
        let span = tracing::info_span!("session", id = %self.context.id, party = %self.context.me());
        async move {
            let (party, started) = (Arc::clone(&self.context.party), self.started());
            match self.run_phases().await {
                Ok(outcome) => outcome,
                Err(error) => Some(recovery::record_store_failure(&party, &started, &error).await),
            }
        }
        .instrument(span)
        .await
    }

    async fn run_phases(self) -> Result<Option<Outcome>, StoreError> {
        let Self { context, token, component, custody } = self;
        let share = match load_share(&context, &custody).await {
            Ok(share) => share,
            Err(PhaseError::Store(error)) => return Err(error),
            Err(PhaseError::Aborted(abort)) => return context.record_abort(abort).await.map(Some),
        };
        let (connection, effects) = match connection::connect(&context, &token).await {
            Ok(connected) => connected,
            Err(abort) => return context.record_abort(abort).await.map(Some),
        };
        match driver::drive(&context, connection, component, share, effects).await? {
            Ended::Aborted { connection, abort } => {
                linger::linger(&context, connection);
                Ok(Some(context.aborted_outcome(abort)))
            }
            Ended::Done { connection, result } => conclude(&context, connection, result, &custody).await,
        }
    }
}

/// Holds what the protocol has made against the order, and sees it through.
async fn conclude(
    context: &SessionContext,
    connection: Connection,
    result: ProtocolResult,
    custody: &Custody,
) -> Result<Option<Outcome>, StoreError> {
    let ProtocolResult { execution, outcome, staged } = result;
    let key = match (outcome, &context.order().operation) {
        (ComponentOutcome::Signatures(signatures), Operation::Sign(items)) => {
            return outcome::finish_signing(context, connection, items, signatures).await.map(Some);
        }
        (ComponentOutcome::Presignatures(count), Operation::Presign { .. }) => {
            return outcome::finish_presigning(context, connection, execution, count, &staged)
                .await
                .map(Some);
        }
        (ComponentOutcome::Key(key), Operation::Keygen)
        | (ComponentOutcome::Refreshed(key), Operation::Refresh)
        | (ComponentOutcome::Repaired(key), Operation::Repair(_)) => key,
        _ => {
            let abort = Abort::of(AbortCode::Plugin, "an outcome that is not the order's");
            return outcome::abort(context, connection, abort).await.map(Some);
        }
    };
    match (outcome::check_new_share(context, execution, key, staged), custody) {
        (Err(abort), _) => outcome::abort(context, connection, abort).await.map(Some),
        (Ok(new_share), Custody::Own) => {
            activation::promise_and_activate(context, connection, new_share).await.map(Some)
        }
        (Ok(new_share), Custody::User(user)) => delivery::deliver(context, connection, new_share, user).await,
    }
}

/// Loads the share that the session uses; a keygen has none, and neither has a party whose share is repaired.
async fn load_share(context: &SessionContext, custody: &Custody) -> Result<Option<ShareEntries>, PhaseError> {
    let order = context.order();
    if order.operation == Operation::Keygen || order.operation.repairs(context.me()) {
        return Ok(None);
    }
    let party = &context.party;
    let user = match custody {
        Custody::Own => {
            let missing = || Abort::of(AbortCode::Share, "this party has no active share of the account");
            // Admission and the claim have found it to be the active one.
            let share_set = context.facts.share_set.ok_or_else(missing)?;
            let share = party.store.entries(order.spec.account, share_set).await?;
            return Ok(Some(share.ok_or_else(missing)?));
        }
        Custody::User(user) => user,
    };
    let wrong = || Abort::of(AbortCode::Share, "this is not the share that was handed to the user");
    let share = user.share.as_ref().ok_or_else(wrong)?;
    if party.match_user_share(order.spec.account, order.epoch, share).await? != ShareMatch::Matches {
        return Err(wrong().into());
    }
    Ok(Some(share.entries().map_err(|_| wrong())?))
}
