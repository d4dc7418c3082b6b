//! The pool of single-use material (rule 6), as one session sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_backends::database::StoreError;
use quorate_core::PreparedId;
use quorate_core::order::Order;
use quorate_core::plan::Plan;
use quorate_net::telemetry::chain;
use quorate_party_store::{AdmissionFacts, PartyStore, PoolPurpose};
use quorate_runtime::SecretBytes;
use quorate_runtime::capabilities::vault::{EntryName, Pool, PoolUnavailable, Scope, Taking};
use tokio::runtime::Handle;

use super::context::SessionContext;
use crate::party::Party;

/// What the material of a session's signers belongs to; `None` without an active share.
pub(crate) fn purpose(order: &Order, plan: &Plan, facts: &AdmissionFacts) -> Option<PoolPurpose> {
    Some(PoolPurpose {
        account: order.spec.account,
        share_set: facts.share_set?,
        signers: plan.signers.clone(),
        share_format: facts.record.as_ref()?.share_format,
    })
}

/// The material that this process could use in a session of the plan; none if the plan uses none.
pub(crate) async fn available(
    party: &Party,
    order: &Order,
    plan: &Plan,
    facts: &AdmissionFacts,
) -> Result<Vec<PreparedId>, StoreError> {
    match purpose(order, plan, facts) {
        Some(purpose) if plan.prepared_ids().next().is_some() => party.store.pooled(&purpose).await,
        _ => Ok(vec![]),
    }
}

/// The pool as one session sees it: the entries that its plan names.
pub(super) struct SessionPool {
    store: PartyStore,
    purpose: PoolPurpose,
    named: BTreeMap<String, PreparedId>,
    /// Whether one of them was not to be had when the component asked for it.
    lost: Arc<AtomicBool>,
    /// Where the store is asked.
    runtime: Handle,
}

impl SessionPool {
    /// `None` for a session whose plan names none.
    pub(super) fn of(context: &SessionContext) -> Option<Self> {
        let named: BTreeMap<_, _> = context.plan.prepared_ids().map(|id| (id.to_string(), id)).collect();
        if named.is_empty() {
            return None;
        }
        let purpose = purpose(context.order(), &context.plan, &context.facts)?;
        let (lost, runtime) = (Arc::default(), Handle::current());
        Some(Self { store: context.party.store.clone(), purpose, named, lost, runtime })
    }

    /// Returns the flag that is set when an entry of the plan is not to be had: another session was faster, or the store failed.
    pub(super) fn lost(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.lost)
    }

    /// The names that the component sees.
    pub(super) fn names(&self) -> Vec<EntryName> {
        self.named.keys().filter_map(|name| EntryName::new(Scope::Key, name)).collect()
    }
}

impl Pool for SessionPool {
    fn take(&self, name: EntryName) -> Taking {
        let id = self.named.get(name.name()).copied();
        let (store, purpose, lost) = (self.store.clone(), self.purpose.clone(), self.lost());
        let Some(id) = id else { return Box::pin(std::future::ready(Ok(None))) };
        // Where the component runs there is no access to the network.
        let taking = self.runtime.spawn(async move { store.take_pooled(&purpose, id).await });
        Box::pin(async move {
            let taken = match taking.await {
                Ok(Ok(Some(value))) => return Ok(Some(SecretBytes::new(value.to_vec()))),
                Ok(Ok(None)) => Ok(None),
                Ok(Err(error)) => {
                    tracing::error!(error = %chain(&error), "presignature not taken; it is used up");
                    Err(PoolUnavailable)
                }
                Err(error) => {
                    tracing::error!(%error, "presignature not taken; it is used up");
                    Err(PoolUnavailable)
                }
            };
            lost.store(true, Ordering::Relaxed);
            taken
        })
    }
}
