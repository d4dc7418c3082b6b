//! The party: holds one share of each key, and runs sessions with it.
//!
//! It takes on a plan only after [`admission`](quorate_core::admission) and only once ([`Party::take_on`]); the session
//! itself is [`core`](quorate_core::session)'s, the protocol is the [sandbox](quorate_runtime)'s, what must not be
//! forgotten is the [store](quorate_party_store)'s. This module is the shell that carries out what they say, in the
//! order that they say it: what is to be durable is durable before anything is sent. [`worker`] takes plans from the
//! queue and reports what became of them.

pub mod admin;
pub mod api;
pub mod user;
pub mod worker;

mod refusal;
mod registry;
mod session;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use quorate_backends::database::StoreError;
use quorate_core::abort::{Abort, AbortCode, AbortNotice, SignedAbort};
use quorate_core::admission::{Facts, Refused, SESSIONS_PER_ORDER};
use quorate_core::certificate::Certificate;
use quorate_core::identity::{PublicKey, SecretKey, key_of};
use quorate_core::order::{CLOCK_SKEW, Operation, Order, OrderRefused};
use quorate_core::plan::Plan;
use quorate_core::report::{Outcome, Report, SignedReport};
use quorate_core::submission::ABORTS;
use quorate_core::{AccountId, Digest, PartyIndex, PlanHash};
use quorate_net::clock::Clock;
use quorate_net::router_client::RouterClient;
use quorate_party_store::{Claim, ClaimOutcome, PartyStore, SessionResult, Started, Unreported};
use quorate_runtime::Plugin;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use registry::Registry;
use session::running::Sessions;
use user::custody::Custody;

pub use refusal::NotRun;
pub use session::Run;

/// What a party is made of.
pub struct Party {
    /// The seed of its identity key.
    seed: Zeroizing<[u8; 32]>,
    identity: PublicKey,
    originators: Vec<PublicKey>,
    pinned: Vec<PublicKey>,
    store: PartyStore,
    replica: String,
    clock: Arc<dyn Clock>,
    router: RouterClient,
    registry: Registry,
    running: Sessions,
    /// Bans that are not in the store yet, because it failed.
    unsaved_bans: Mutex<HashSet<(AccountId, PublicKey)>>,
    /// Cancelled when running sessions are to end.
    closing: CancellationToken,
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
    pub store: PartyStore,
    /// The name of this replica: no other process of this party that runs has it.
    pub replica: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The router.
    pub router: RouterClient,
}

impl Party {
    /// A party that has no plugin yet.
    ///
    /// # Errors
    /// When its store fails.
    pub async fn new(setup: PartySetup) -> Result<Self, StoreError> {
        let PartySetup { seed, originators, pinned, store, replica, clock, router } = setup;
        let identity = SecretKey::from_seed(&seed).public();
        let registry = Registry::new(store.suspended().await?);
        let closing = CancellationToken::new();
        let running = Sessions::default();
        Ok(Self {
            seed,
            identity,
            originators,
            pinned,
            store,
            replica,
            clock,
            router,
            registry,
            running,
            unsaved_bans: Mutex::default(),
            closing,
        })
    }

    /// The public identity key.
    #[must_use]
    pub fn identity(&self) -> PublicKey {
        self.identity
    }

    /// How many seconds the clock is behind the latest time that the party has seen, if that is more than clocks may be
    /// apart: no session would start (rule 10).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn behind(&self) -> Result<Option<u64>, StoreError> {
        let behind = self.store.latest_seen().await?.saturating_sub(self.clock.seconds());
        Ok(Some(behind).filter(|&seconds| seconds > CLOCK_SKEW))
    }

    fn originators(&self) -> &[PublicKey] {
        &self.originators
    }

    /// Lets new sessions run on a component, beside those that are there. `false` if its version can't be compared with
    /// others, or if it is suspended.
    pub fn install(&self, plugin: &Plugin) -> bool {
        self.registry.install(plugin)
    }

    /// The components that new sessions may run on.
    #[must_use]
    pub fn plugins(&self) -> Vec<Plugin> {
        self.registry.all()
    }

    /// Waits until the components have changed since the last time.
    async fn plugins_changed(&self) {
        self.registry.changed().await;
    }

    /// Ends all running sessions: the host is shutting down.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Bars a counterparty from an account (rule 8). If the store fails, this process remembers it until the store has it.
    async fn ban(&self, account: AccountId, counterparty: PublicKey) -> Result<(), StoreError> {
        self.bans().insert((account, counterparty));
        self.store.ban(account, counterparty).await?;
        self.bans().remove(&(account, counterparty));
        Ok(())
    }

    fn bans(&self) -> std::sync::MutexGuard<'_, HashSet<(AccountId, PublicKey)>> {
        self.unsaved_bans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unsaved_bans(&self, account: AccountId) -> Vec<PublicKey> {
        self.bans().iter().filter(|(of, _)| *of == account).map(|(_, counterparty)| *counterparty).collect()
    }

    /// Stores bans that could not be stored before, and takes in what other replicas have suspended.
    async fn catch_up(&self) -> Result<(), StoreError> {
        let unsaved: Vec<_> = self.bans().iter().copied().collect();
        for (account, counterparty) in unsaved {
            self.ban(account, counterparty).await?;
        }
        for digest in self.store.suspended().await? {
            if self.registry.active(digest).is_some() {
                self.registry.suspend(digest);
            }
        }
        Ok(())
    }

    /// The components that no new session may run on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn suspended(&self) -> Result<Vec<Digest>, StoreError> {
        self.store.suspended().await
    }

    /// Frees an account of promises that nobody will complete. Says whether there were any.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn unlock(&self, account: AccountId) -> Result<bool, StoreError> {
        self.store.unlock(account).await
    }

    /// Forgets what state a peer was in: it counts from the one that it is in now (rule 10). Says whether it was known.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn readmit(&self, peer: PublicKey) -> Result<bool, StoreError> {
        self.store.readmit(peer).await
    }

    /// Lets no new session run on a component, for good.
    ///
    /// # Errors
    /// When the store fails: then only this process holds to it.
    pub async fn suspend(&self, digest: Digest) -> Result<(), StoreError> {
        self.registry.suspend(digest);
        self.store.suspend(digest).await
    }

    /// Takes on a plan, or says why not. The token came with it: routers let this party into the session with it.
    ///
    /// # Errors
    /// See [`NotRun`]: nothing was started or sent.
    pub async fn take_on(self: &Arc<Self>, plan: Plan, token: String) -> Result<Run, NotRun> {
        self.take_on_for(plan, token, Custody::Own).await
    }

    /// The same, with a share that somebody else may keep.
    async fn take_on_for(
        self: &Arc<Self>,
        plan: Plan,
        token: String,
        custody: Custody,
    ) -> Result<Run, NotRun> {
        let now = self.clock.seconds();
        let order = plan.order.open(&self.originators, now).map_err(|e: OrderRefused| Refused::from(e))?;
        // A refusal says that nothing will ever be promised: a second copy of a plan must not lead to one.
        if !matches!(order.operation, Operation::Sign(_))
            && self.store.was_claimed(plan.session_id()).await.map_err(NotRun::NotKnown)?
        {
            return Err(NotRun::ClaimedBefore);
        }
        if let Some(certificate) = &plan.certificate {
            self.roll_forward(&order, certificate).await?;
        }
        self.heed(&order, &plan.aborts).await?;
        let mut knowledge = self.store.knowledge(order.id, order.account, plan.hash()).await?;
        if knowledge.claimed {
            return Err(NotRun::ClaimedBefore);
        }
        knowledge.banned.extend(self.unsaved_bans(order.account));
        let entry = self.registry.active(plan.digest);
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
        });
        if let (Err(Refused::Contradicts(_)), Some(share)) = (&admitted, &knowledge.share)
            && share.epoch > order.epoch
        {
            // Who ordered it does not know of the shares that this party has by now, or did not when it did.
            self.store.report_again(order.account).await?;
            if let Err(Refused::Contradicts("epoch")) = admitted {
                return Err(NotRun::Stale);
            }
        }
        let admitted = admitted?;
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
            me: admitted.me,
            digest: plan.digest,
            signers: plan
                .signers
                .iter()
                .filter_map(|signer| key_of(&order.parties, *signer).copied())
                .collect(),
            replica: self.replica.clone(),
            deadline: plan.deadline,
            now,
            at_most: SESSIONS_PER_ORDER,
        };
        match self.store.claim(&claim).await? {
            ClaimOutcome::Claimed => {
                Ok(Run::new(Arc::clone(self), (plan, token), admitted, entry, knowledge, custody))
            }
            ClaimOutcome::AlreadyClaimed => Err(NotRun::ClaimedBefore),
            ClaimOutcome::OrderIsOver => Err(Refused::TooManySessions.into()),
            ClaimOutcome::Locked => Err(NotRun::Locked),
            ClaimOutcome::Suspended => {
                self.registry.suspend(plan.digest);
                Err(Refused::PluginNotActive.into())
            }
            ClaimOutcome::Stale => Err(NotRun::Stale),
        }
    }

    /// Takes on a plan and runs its session to the end. What comes of it is to be reported.
    ///
    /// # Errors
    /// See [`NotRun`].
    pub async fn run(self: &Arc<Self>, plan: Plan, token: String) -> Result<Option<Outcome>, NotRun> {
        Ok(self.take_on(plan, token).await?.finish().await)
    }

    /// A party that has promised a share and not heard of its certificate learns of it from a plan (rule 9).
    async fn roll_forward(&self, order: &Order, certificate: &Certificate) -> Result<(), StoreError> {
        let plan = certificate.activation.plan;
        if certificate.activation.account != order.account {
            return Ok(());
        }
        let Some(promised) = self.store.promised(plan).await? else { return Ok(()) };
        // The parties that were sealed with the share count, not those that the order names.
        if certificate.verify(&promised.parties).is_err() {
            return Ok(());
        }
        match self.store.activate(certificate).await {
            Ok(()) => {
                tracing::info!(epoch = certificate.activation.epoch, "rolled forward with a certificate")
            }
            // Another share of this epoch is active, or this is not what was promised: admission says what follows.
            Err(StoreError::Conflict(reason)) => tracing::warn!(reason, "a certificate was not followed"),
            Err(other) => return Err(other),
        }
        Ok(())
    }

    /// After a restart: ends what was running, for nothing was promised for it; gives the reports that are due for that
    /// and for promises that still wait for their certificate.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn take_up(&self) -> Result<Vec<SignedReport>, StoreError> {
        let mut reports = self.abandoned(Some(&self.replica)).await?;
        let told: Vec<_> = reports.iter().map(|report| report.report.session).collect();
        let unreported = self.unreported().await?.into_iter().map(|(_, report)| report);
        reports.extend(unreported.filter(|report| !told.contains(&report.report.session)));
        Ok(reports)
    }

    /// Ends what nobody runs any more: what a process of this name has left behind, or any replica whose time is over.
    async fn abandoned(&self, replica: Option<&str>) -> Result<Vec<SignedReport>, StoreError> {
        let mut reports = Vec::new();
        for started in self.store.abandoned(replica, self.clock.millis()).await? {
            match self.store.abort(started.plan).await {
                Ok(()) => {}
                // Somebody runs it after all.
                Err(StoreError::Conflict(_)) => continue,
                Err(error) => return Err(error),
            }
            let reason = "the party was restarted in the middle of the session";
            let abort = Abort::of(AbortCode::Unavailable, reason);
            reports.push(self.report(&started, self.aborted(started.plan, started.me, abort)));
        }
        Ok(reports)
    }

    /// Reports of keygens and refreshes of which nobody has been told yet.
    async fn unreported(&self) -> Result<Vec<(PlanHash, SignedReport)>, StoreError> {
        let unreported = self.store.unreported().await?;
        let report = |unreported: Unreported| {
            let Unreported { started, result } = unreported;
            let outcome = match result {
                SessionResult::Share(certificate, key) => Outcome::Activated { certificate, key },
                SessionResult::Promise(ready, key) => Outcome::Promised { ready, key },
                SessionResult::Nothing => {
                    let abort = Abort::of(AbortCode::Unavailable, "the session ended here without a share");
                    self.aborted(started.plan, started.me, abort)
                }
            };
            (started.plan, self.report(&started, outcome))
        };
        Ok(unreported.into_iter().map(report).collect())
    }

    fn report(&self, started: &Started, outcome: Outcome) -> SignedReport {
        let Started { session, order, me, digest, .. } = *started;
        Report { session, order, by: me, digest, outcome: outcome.tamed() }.sign(&self.key())
    }

    /// What is reported of an abort that has been recorded.
    fn aborted(&self, plan: PlanHash, me: PartyIndex, abort: Abort) -> Outcome {
        let Abort { code, culprits, reason } = abort;
        let notice = Some(AbortNotice { plan, by: me, code }.sign(&self.key()));
        Outcome::Aborted { code, culprits, reason, notice }
    }

    /// Ends a session in the middle of which the store has failed. If it fails again, a restart ends it.
    async fn failed(&self, started: &Started, error: &StoreError) -> Outcome {
        tracing::error!(%error, cause = ?std::error::Error::source(error), "the party's store failed");
        let abort = Abort::of(AbortCode::Internal, error.to_string());
        match self.store.abort(started.plan).await {
            Ok(()) => self.aborted(started.plan, started.me, abort),
            // It may have promised: it says nothing of the kind.
            Err(_) => {
                Outcome::Aborted { code: abort.code, culprits: vec![], reason: abort.reason, notice: None }
            }
        }
    }

    /// Frees accounts of promises that a peer, by its signed word, will never complete (rule 9).
    async fn heed(&self, order: &Order, aborts: &[SignedAbort]) -> Result<(), StoreError> {
        for abort in aborts.iter().take(ABORTS) {
            let Some(promised) = self.store.promised(abort.notice.plan).await? else { continue };
            let by = key_of(&promised.parties, abort.notice.by);
            let said = by.is_some_and(|key| *key != self.identity && abort.verify(key).is_ok());
            if said && promised.account == order.account {
                match self.store.release(abort.notice.plan).await {
                    Ok(()) => tracing::warn!(
                        by = %abort.notice.by, "a peer will never promise: the account is free for another try"
                    ),
                    Err(StoreError::Conflict(reason)) => tracing::warn!(reason, "an abort was not heeded"),
                    Err(other) => return Err(other),
                }
            }
        }
        Ok(())
    }

    fn key(&self) -> SecretKey {
        SecretKey::from_seed(&self.seed)
    }
}
