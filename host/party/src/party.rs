//! The identity, stores and services of one party, shared by all its tasks.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use quorate_backends::database::StoreError;
use quorate_core::abort::{Abort, AbortCode, AbortNotice, SignedAbort};
use quorate_core::acknowledgement::Acknowledgement;
use quorate_core::heartbeat::Trouble;
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_core::order::{MAX_CLOCK_SKEW, Order};
use quorate_core::promise::Contradiction;
use quorate_core::report::{Outcome, Report, SignedReport};
use quorate_core::session::WaitingRoom;
use quorate_core::{AccountId, DatabaseId, Digest, PartyIndex, PlanHash};
use quorate_net::clock::Clock;
use quorate_net::router_client::RouterClient;
use quorate_net::telemetry::chain;
use quorate_party_store::{BannedParty, DecidedIn, PartyStore, Started};
use quorate_runtime::{Plugin, PluginText};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::bans::BanGate;
use crate::component_cache::PartyCache;
use crate::events::Events;
use crate::party_setup::PartySetup;
use crate::registry::{NotInstalled, Registry};
use crate::session::running_sessions::RunningSessions;

/// Bytes of one peer's messages that wait at this party, over all its sessions: twice what 128 signings have in a round
/// (55 kB of each signer), or 32 keygens that are a round behind (two messages of 143 kB).
const MAX_WAITING_BYTES_PER_PEER: usize = 16 << 20;

/// The identity, stores and services of a party.
pub struct Party {
    /// The seed of its identity key.
    seed: Zeroizing<[u8; 32]>,
    identity: PublicKey,
    pub(crate) originators: Vec<PublicKey>,
    pub(crate) pinned: Vec<PublicKey>,
    pub(crate) store: PartyStore,
    pub(crate) replica: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) router: RouterClient,
    /// What components keep for a while.
    pub(crate) cache: Arc<PartyCache>,
    /// What components say.
    pub(crate) events: Events,
    /// Whether the texts of plugins are kept.
    pub(crate) plugin_texts: PluginText,
    /// How often it signs with an account in a day (UTC); `None`: as often as orders come.
    pub(crate) signatures_per_day: Option<NonZeroU32>,
    pub(crate) registry: Registry,
    pub(crate) running: RunningSessions,
    /// Where messages of peers wait, in all sessions.
    pub(crate) waiting_room: WaitingRoom,
    /// The bans that this process has decided.
    pub(crate) bans: BanGate,
    /// Sessions that have ended without a result, and whose end is not in the store yet, because it failed.
    not_ended: Mutex<HashSet<PlanHash>>,
    /// How many seconds the clock is behind the latest time seen; 0 if it is not.
    clock_behind: AtomicU64,
    /// Whether this party was set back to an earlier state, and its operator has not accepted that.
    set_back: AtomicBool,
    /// Whether no router took this party in when it was last asked.
    router_refuses: AtomicBool,
    /// Cancelled when running sessions are to end; the tokens of sessions are its children.
    pub(crate) closing: CancellationToken,
}

impl Party {
    /// A party that has no plugin yet.
    ///
    /// # Errors
    /// When its store fails.
    pub async fn new(setup: PartySetup) -> Result<Self, StoreError> {
        let PartySetup {
            seed,
            originators,
            pinned,
            minimum_plugins,
            store,
            replica,
            clock,
            router,
            cache,
            plugin_texts,
            signatures_per_day,
        } = setup;
        let identity = SecretKey::from_seed(&seed).public();
        let registry = Registry::new(store.suspended().await?, minimum_plugins);
        let set_back = store.was_set_back().await?;
        store.begin_orders(clock.seconds()).await?;
        let closing = CancellationToken::new();
        Ok(Self {
            seed,
            identity,
            originators,
            pinned,
            store,
            replica,
            clock,
            router,
            cache: Arc::new(PartyCache::new(cache, identity)?),
            events: Events::new(),
            plugin_texts,
            signatures_per_day,
            registry,
            waiting_room: WaitingRoom::new(MAX_WAITING_BYTES_PER_PEER),
            running: RunningSessions::new(closing.clone()),
            bans: BanGate::default(),
            not_ended: Mutex::default(),
            clock_behind: AtomicU64::new(0),
            set_back: AtomicBool::new(set_back),
            router_refuses: AtomicBool::new(false),
            closing,
        })
    }

    /// The public identity key.
    #[must_use]
    pub fn identity(&self) -> PublicKey {
        self.identity
    }

    pub(crate) fn key(&self) -> SecretKey {
        SecretKey::from_seed(&self.seed)
    }

    /// This party's index among the parties of an order, if it is one of them.
    pub(crate) fn index_in(&self, order: &Order) -> Option<PartyIndex> {
        order.spec.index_of(&self.identity)
    }

    /// Notes whether the clock is behind the latest time that the party has seen by more than clocks may be apart: then no
    /// session starts (rule 10).
    pub(crate) async fn check_clock(&self) -> Result<(), StoreError> {
        let lag = self.store.latest_seen().await?.since(self.clock.seconds());
        let behind = if lag > MAX_CLOCK_SKEW { lag.as_secs() } else { 0 };
        if behind > 0 {
            tracing::error!(
                seconds = behind,
                "the clock is behind the latest time that this party has seen: it starts nothing"
            );
        }
        self.clock_behind.store(behind, Ordering::Relaxed);
        Ok(())
    }

    /// Notes that a peer has shown that this party's state counter was once higher. If it was, the party stops by itself
    /// (rule 10): the counts, bans and activations since are lost, and a peer that does not remember must not be the next to
    /// work with it.
    pub(crate) async fn note_set_back(&self, counter: u64, database: DatabaseId) -> Result<(), StoreError> {
        self.store.note_once_counter(counter, database).await?;
        self.check_set_back().await
    }

    /// Whether this party was set back to an earlier state, as far as this process knows.
    pub(crate) fn is_set_back(&self) -> bool {
        self.set_back.load(Ordering::Relaxed)
    }

    /// Notes whether the store says that this party was set back.
    pub(crate) async fn check_set_back(&self) -> Result<(), StoreError> {
        let set_back = self.store.was_set_back().await?;
        if set_back && !self.is_set_back() {
            tracing::error!(
                "this party was set back to an earlier state: it takes nothing on until its operator re-admits it"
            );
        }
        self.set_back.store(set_back, Ordering::Relaxed);
        if set_back {
            // Another replica may have learned it.
            self.running.cancel_all();
        }
        Ok(())
    }

    /// Sets the stored time back to this machine's clock, after a clock that was ahead is set right. The party takes orders again
    /// that are issued eleven minutes later. Returns whether the stored time was ahead.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn set_time_back(&self) -> Result<bool, StoreError> {
        let done = self.store.set_time_back(self.clock.seconds()).await?;
        self.check_clock().await?;
        Ok(done)
    }

    /// Lets new sessions run on a component, beside those that are there.
    ///
    /// # Errors
    /// See [`NotInstalled`].
    pub fn install(&self, plugin: &Plugin) -> Result<(), NotInstalled> {
        self.registry.install(plugin)
    }

    /// The components that new sessions may run on.
    #[must_use]
    pub fn plugins(&self) -> Vec<Plugin> {
        self.registry.all()
    }

    /// Ends all running sessions: the host is shutting down.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Bars parties from an account's share set (rule 8). First nothing of any session with them leaves this process any more;
    /// then the ban is stored, together with the end of the session in which they cheated; then their other sessions end, and
    /// may tell why. If the store fails, the account is closed at this party until the store has the ban.
    pub(crate) async fn ban(&self, banned: &[BannedParty], decided_in: DecidedIn) -> Result<(), StoreError> {
        self.bans.decide(banned, |banned| self.running.silence(banned));
        let stored = self.store.ban(banned, decided_in).await;
        match &stored {
            Ok(()) => {
                self.bans.mark_stored(banned);
                banned.iter().for_each(|banned| self.running.end_banned(banned));
            }
            Err(_) => {
                self.bans.mark_not_stored(banned, decided_in);
                banned.iter().for_each(|banned| self.running.cancel_account(banned.account));
            }
        }
        stored
    }

    /// Holds to a ban that another replica of this party has stored.
    pub(crate) fn follow_ban(&self, banned: BannedParty) {
        self.bans.decide(&[banned], |banned| self.running.silence(banned));
        self.bans.mark_stored(&[banned]);
        self.running.end_banned(&banned);
    }

    /// Stores bans, and ends of sessions, that could not be stored before. One that fails again holds up no other.
    pub(crate) async fn store_again(&self) {
        for (decided_in, banned) in self.bans.not_stored() {
            if let Err(error) = self.ban(&banned, decided_in).await {
                tracing::error!(error = %chain(&error), "bans not stored");
            }
        }
        let ended: Vec<PlanHash> = self.not_ended.lock().iter().copied().collect();
        for plan in ended {
            match self.store.abort(plan).await {
                Err(error @ (StoreError::Database(_) | StoreError::Unavailable(_))) => {
                    tracing::error!(error = %chain(&error), "the end of a session was not stored");
                }
                _ => drop(self.not_ended.lock().remove(&plan)),
            }
        }
        self.bans.forget_stored(|account| self.running.has_any_of(account));
    }

    /// Remembers that a session has ended whose end could not be stored: its outcome is known.
    pub(crate) fn remember_end(&self, plan: PlanHash) {
        self.not_ended.lock().insert(plan);
    }

    /// Why this party can't do its work, as far as it knows.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        if !self.bans.not_stored().is_empty() {
            return Some(Trouble::Store);
        }
        if self.clock_behind.load(Ordering::Relaxed) > 0 {
            return Some(Trouble::Clock);
        }
        if self.is_set_back() {
            return Some(Trouble::SetBack);
        }
        self.router_refuses.load(Ordering::Relaxed).then_some(Trouble::Router)
    }

    /// Notes whether a router took this party in when it was last asked.
    pub(crate) fn note_router(&self, attached: bool) {
        self.router_refuses.store(!attached, Ordering::Relaxed);
    }

    /// Why this party does not take on all that it should, for those who watch it; `None` if it does.
    #[must_use]
    pub fn trouble_text(&self) -> Option<String> {
        Some(match self.trouble()? {
            Trouble::Store => {
                let bans = self.bans.not_stored().values().map(Vec::len).sum::<usize>();
                format!(
                    "{bans} bans can't be stored, and their accounts are closed here: mend the party's database"
                )
            }
            Trouble::Clock => format!(
                "the clock is {} seconds behind the latest time that this party has seen, so that no session starts: set \
                 the clock; if it was ahead before, run `quorate admin clock` at the party",
                self.clock_behind.load(Ordering::Relaxed)
            ),
            Trouble::SetBack => "the party was set back to an earlier state: bring its database up to date, or run `quorate admin \
                                 readmit` with its own key at it, and at each of its peers"
                .to_owned(),
            // The next session may find another router.
            Trouble::Router => return None,
        })
    }

    /// Takes in what other replicas have suspended.
    pub(crate) async fn load_suspensions(&self) -> Result<(), StoreError> {
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

    /// Lets no new session run on a component, for good.
    ///
    /// # Errors
    /// When the store fails: then only this process holds to it.
    pub async fn suspend(&self, digest: Digest) -> Result<(), StoreError> {
        self.registry.suspend(digest);
        self.store.suspend(digest).await
    }

    /// Frees an account of promises that will never be completed. Returns whether there were any.
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

    /// Keeps the proofs that parties have lied about their promises, and says so.
    pub(crate) async fn keep_contradictions(
        &self,
        contradictions: impl IntoIterator<Item = Contradiction>,
    ) -> Result<(), StoreError> {
        for contradiction in contradictions {
            if self.store.keep_contradiction(&contradiction).await? {
                tracing::error!(
                    party = %contradiction.by(),
                    account = %contradiction.ready.activation.account,
                    "this party has promised a share and has also signed that it never would: it lies; both statements are kept"
                );
            }
        }
        Ok(())
    }

    /// What became of a session, to be signed.
    pub(crate) fn report_of(&self, started: &Started, outcome: Outcome) -> Report {
        let Started { session, order, me, digest, .. } = *started;
        // An active share is durable: its acknowledgement may travel further than the party's frames.
        let acknowledgements = match &outcome {
            Outcome::Activated { certificate, .. } => {
                vec![Acknowledgement::sign(certificate.activation.plan, me, &self.key())]
            }
            _ => vec![],
        };
        Report::new(session, order, me, digest, outcome).with_acknowledgements(acknowledgements)
    }

    /// Signs what became of a session.
    pub(crate) fn sign_report(&self, started: &Started, outcome: Outcome) -> SignedReport {
        self.report_of(started, outcome).sign(&self.key())
    }

    /// This party's word that it never promises anything for a plan. That is recorded before.
    pub(crate) fn sign_denial(&self, plan: PlanHash, me: PartyIndex, code: AbortCode) -> SignedAbort {
        AbortNotice { plan, by: me, code }.sign(&self.key())
    }

    /// The outcome that is reported for an abort that has been recorded.
    pub(crate) fn aborted_outcome(&self, plan: PlanHash, me: PartyIndex, abort: Abort) -> Outcome {
        let Abort { code, plugin_code, culprits, reason } = abort;
        let notice = Some(self.sign_denial(plan, me, code));
        Outcome::Aborted { code, plugin_code, culprits, reason, notice }
    }
}
