//! The party: holds one share of each key, and runs sessions with it.
//!
//! It takes on a plan only after [`admission`] and only once ([`Party::run`]); the session itself
//! is [`core`](quorate_core::session)'s, the protocol is the [sandbox](quorate_runtime)'s, what must not be forgotten is
//! the [store](quorate_broker::store)'s. This module is the shell that carries out what they say, in the order that they
//! say it: what is to be durable is durable before anything is sent.

mod material;
mod promises;
mod run;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use quorate_broker::store::{Claim, Claimed, PartyStore, StoreError};
use quorate_core::abort::Abort;
use quorate_core::admission::{self, Facts, Refused, SESSIONS_PER_ORDER};
use quorate_core::certificate::Certificate;
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_core::order::{Operation, OrderRefused};
use quorate_core::plan::Plan;
use quorate_core::{Digest, PlanHash};
use quorate_runtime::{Plugin, Signature};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::router::Hub;

/// What a party is made of.
pub struct Party {
    /// The seed of its identity key.
    seed: Zeroizing<[u8; 32]>,
    identity: PublicKey,
    /// Whose orders it takes.
    originators: Vec<PublicKey>,
    /// Which parties it works with.
    pinned: Vec<PublicKey>,
    store: Arc<dyn PartyStore>,
    clock: Arc<dyn Clock>,
    router: Hub,
    registry: RwLock<HashMap<Digest, Entry>>,
}

/// A component that new sessions may run on.
#[derive(Clone)]
struct Entry {
    plugin: Plugin,
    facts: admission::Plugin,
    /// It made a signature that does not verify (rule 7): nothing new runs on it here.
    suspended: bool,
}

/// How a session ended at this party.
#[derive(Debug)]
pub enum Ended {
    /// With a signature that this party has verified.
    Signed(Signature),
    /// With an active share.
    Activated(Certificate),
    /// With a share that still waits for its certificate. The promise stays.
    Promised(PlanHash),
    /// Without a result.
    Aborted(Abort),
}

/// Why a plan was not run. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum NotRun {
    /// It is not a plan.
    #[error("the bytes are no plan")]
    Malformed,
    /// It is not to be taken on.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It was run before, or another replica runs it.
    #[error("this plan was claimed before")]
    ClaimedBefore,
    /// Another keygen or refresh of the account runs or waits for its certificate.
    #[error("another keygen or refresh of this account is under way")]
    Locked,
    /// What the plan was admitted on has changed in between.
    #[error("the account's epoch or bans have changed: ask again")]
    Stale,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The router has no room.
    #[error("the router has no room for this session")]
    NoRoom,
}

/// What a [`Party`] is given.
pub struct PartySetup {
    /// The seed of its identity key.
    pub seed: Zeroizing<[u8; 32]>,
    /// Whose orders it takes.
    pub originators: Vec<PublicKey>,
    /// Which parties it works with.
    pub pinned: Vec<PublicKey>,
    /// What it must not forget.
    pub store: Arc<dyn PartyStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The router.
    pub router: Hub,
}

impl Party {
    /// A party that has no plugin yet.
    #[must_use]
    pub fn new(setup: PartySetup) -> Self {
        let PartySetup { seed, originators, pinned, store, clock, router } = setup;
        let identity = SecretKey::from_seed(&seed).public();
        let registry = RwLock::default();
        Self { seed, identity, originators, pinned, store, clock, router, registry }
    }

    /// The public identity key.
    #[must_use]
    pub fn identity(&self) -> PublicKey {
        self.identity
    }

    /// Lets new sessions run on a component. `false` if its version can't be compared with others.
    pub fn register(&self, plugin: &Plugin) -> bool {
        let descriptor = plugin.descriptor();
        let Ok(version) = descriptor.version.parse() else { return false };
        let facts = admission::Plugin {
            digest: plugin.digest(),
            protocol: descriptor.id.clone(),
            version,
            schemes: descriptor.schemes.clone(),
            max_parties: descriptor.max_parties,
        };
        let entry = Entry { plugin: plugin.clone(), facts, suspended: false };
        self.registry.write().unwrap_or_else(PoisonError::into_inner).insert(plugin.digest(), entry);
        true
    }

    /// No new session runs on a component: it made a signature that does not verify.
    fn suspend(&self, digest: Digest) {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = registry.get_mut(&digest) {
            entry.suspended = true;
            tracing::error!(%digest, "bad_signature: the plugin is suspended at this party");
        }
    }

    fn entry(&self, digest: Digest) -> Option<Entry> {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        registry.get(&digest).filter(|entry| !entry.suspended).cloned()
    }

    /// Takes on a plan and runs its session to the end.
    ///
    /// # Errors
    /// See [`NotRun`]: the plan was not taken on. How a session that was taken on ends is [`Ended`].
    pub async fn run(&self, plan: &Plan) -> Result<Ended, NotRun> {
        let now = self.clock.seconds();
        let order = plan.order.open(&self.originators, now).map_err(|e: OrderRefused| Refused::from(e))?;
        let knowledge = self.store.knowledge(order.id, order.account).await?;
        let entry = self.entry(plan.digest);
        let admitted = plan.admit(&Facts {
            me: self.identity,
            originators: &self.originators,
            pinned: &self.pinned,
            plugin: entry.as_ref().map(|entry| &entry.facts),
            share: knowledge.share.as_ref(),
            promised: knowledge.promised,
            banned: &knowledge.banned,
            sessions_of_order: knowledge.sessions_of_order,
            order_succeeded: knowledge.order_succeeded,
            now,
            latest_seen: knowledge.latest_seen,
        })?;
        // Admission has found it.
        let entry = entry.ok_or(Refused::PluginNotActive)?;
        let claim = Claim {
            session: plan.session_id(),
            plan: plan.hash(),
            order: order.id,
            expires_at: order.expires_at,
            account: order.account,
            exclusive: !matches!(order.operation, Operation::Sign(_)),
            epoch: (order.operation != Operation::Keygen).then_some(order.epoch),
            signers: plan
                .signers
                .iter()
                .filter_map(|signer| order.parties.get(usize::from(signer.number()) - 1).copied())
                .collect(),
            now,
            at_most: SESSIONS_PER_ORDER,
        };
        match self.store.claim(&claim).await? {
            Claimed::Yes => {}
            Claimed::Before => return Err(NotRun::ClaimedBefore),
            Claimed::OrderIsOver => return Err(Refused::TooManySessions.into()),
            Claimed::Locked => return Err(NotRun::Locked),
            Claimed::Stale => return Err(NotRun::Stale),
        }
        run::Run::new(self, plan, admitted, entry, knowledge).finish().await
    }

    /// After a restart: ends what was running, for nothing was promised for it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn take_up(&self) -> Result<(), StoreError> {
        for plan in self.store.unsettled().await?.running {
            self.store.abort(plan).await?;
        }
        Ok(())
    }

    fn key(&self) -> SecretKey {
        SecretKey::from_seed(&self.seed)
    }
}
