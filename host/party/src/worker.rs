//! The party at work: takes plans from its queue, announces itself, watches for cancelled sessions, and keeps its
//! store in order.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use quorate_backends::database::StoreError;
use quorate_backends::queue::{Delivery, Queue, QueueError};
use quorate_core::SessionId;
use quorate_core::codec::decode;
use quorate_core::plan::Plan;
use quorate_core::report::SignedReport;
use quorate_net::replicas::Replicas;
use quorate_net::telemetry::chain;
use quorate_net::topics::{CANCELLED, listen_to, queue_of};
use quorate_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::event_sender::send_events;
use crate::heartbeat::send_heartbeats;
use crate::party::Party;
use crate::recovery;
use crate::reporter::Reporter;
use crate::runner::{IncomingPlan, PlanRunner, QUEUE_RETRY_DELAY, acknowledge};
use crate::user::custody::Custody;
use crate::user::inbox::UserInbox;
use crate::user::shares::UserShares;

/// Sessions of one party at a time. More would only share the same processors; further plans wait in the queue until
/// their deadline.
const MAX_SESSIONS: usize = 128;

/// How often a party reports again what no coordinator has taken, and forgets what is over.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(30);

/// A party at work.
pub struct PartyWorker {
    party: Arc<Party>,
    queue: Arc<dyn Queue>,
    runner: Arc<PlanRunner>,
    reporter: Arc<Reporter>,
    /// There if users keep this party's shares.
    shares: Option<Arc<UserShares>>,
}

/// The parts of a [`PartyWorker`].
pub struct WorkerSetup {
    /// The party.
    pub party: Arc<Party>,
    /// Where its plans come from.
    pub queue: Arc<dyn Queue>,
    /// Where its reports go.
    pub coordinators: Replicas,
}

impl PartyWorker {
    /// A party that keeps its own shares, and has not begun to work.
    #[must_use]
    pub fn new(setup: WorkerSetup) -> Self {
        let WorkerSetup { party, queue, coordinators } = setup;
        let reporter = Arc::new(Reporter::new(Arc::clone(&party), coordinators));
        let runner = Arc::new(PlanRunner::new(Arc::clone(&party), Arc::clone(&reporter)));
        Self { party, queue, runner, reporter, shares: None }
    }

    /// A party whose shares users keep: plans wait in the inbox until their users come.
    #[must_use]
    pub fn with_user_shares(setup: WorkerSetup, inbox: UserInbox) -> (Self, Arc<UserShares>) {
        let worker = Self::new(setup);
        let (party, runner, reporter) = (&worker.party, &worker.runner, &worker.reporter);
        let shares = UserShares::new(Arc::clone(party), Arc::clone(runner), Arc::clone(reporter), inbox);
        let shares = Arc::new(shares);
        (Self { shares: Some(Arc::clone(&shares)), ..worker }, shares)
    }

    /// After a restart: ends the sessions that were running, and reports them and everything else that is due.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn recover(&self) -> Result<(), StoreError> {
        for report in recovery::recover(&self.party).await? {
            self.reporter.report(report).await;
        }
        Ok(())
    }

    /// Ends the sessions that were running before a restart, and returns the reports that are due, for
    /// [`PartyWorker::serve`]: no coordinator may be reachable yet.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn recover_unreported(&self) -> Result<Vec<SignedReport>, StoreError> {
        recovery::recover(&self.party).await
    }

    /// Works until `stop`, and then for at most `grace` on the sessions that are running; those that take longer are
    /// aborted.
    pub async fn serve(
        self: Arc<Self>,
        unreported: Vec<SignedReport>,
        stop: CancellationToken,
        grace: Duration,
    ) {
        let tasks = TaskTracker::new();
        let reporter = Arc::clone(&self.reporter);
        tasks.spawn(async move {
            for report in unreported {
                reporter.report(report).await;
            }
        });
        // A party announces itself for as long as it takes plans on; it hears of cancelled sessions until its last
        // one is over.
        let closing = self.party.closing.clone();
        let heartbeats = send_heartbeats(Arc::clone(&self.party), Arc::clone(&self.queue));
        tokio::spawn(stop.clone().run_until_cancelled_owned(heartbeats));
        let events = send_events(Arc::clone(&self.party), Arc::clone(&self.queue));
        tokio::spawn(closing.clone().run_until_cancelled_owned(events));
        tasks.spawn(Arc::clone(&self).maintain(stop.clone()));
        tokio::spawn(closing.clone().run_until_cancelled_owned(Arc::clone(&self).watch_cancellations()));
        if let Some(shares) = self.shares.clone() {
            tokio::spawn(closing.clone().run_until_cancelled_owned(shares.expire_unconfirmed()));
        }
        Arc::clone(&self).consume(&tasks, &stop).await;
        tasks.close();
        // Sessions may take all the time that the process is given.
        self.party.store_again().await;
        if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
            tracing::warn!(left = tasks.len(), "sessions are aborted: the party is shutting down");
            self.party.close();
            if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
                tracing::error!(left = tasks.len(), "sessions did not end");
            }
        }
        self.party.close();
        self.party.store_again().await;
    }

    async fn consume(self: Arc<Self>, tasks: &TaskTracker, stop: &CancellationToken) {
        let permits = Arc::new(Semaphore::new(MAX_SESSIONS));
        let name = queue_of(&self.party.identity());
        while !stop.is_cancelled() {
            let consuming = async {
                let mut consumer = self.queue.consume(&name, MAX_SESSIONS).await?;
                loop {
                    // The semaphore is never closed.
                    let permit = Arc::clone(&permits).acquire_owned().await.ok();
                    let delivery = consumer.next().await?;
                    let worker = Arc::clone(&self);
                    tasks.spawn(async move { worker.handle(delivery, permit).await });
                }
            };
            let ended: Result<(), QueueError> = tokio::select! {
                () = stop.cancelled() => return,
                ended = consuming => ended,
            };
            if let Err(error) = ended {
                tracing::warn!(%error, "queue of plans unavailable; trying again");
                tokio::time::sleep(QUEUE_RETRY_DELAY).await;
            }
        }
    }

    async fn handle(self: Arc<Self>, delivery: Delivery, permit: Option<OwnedSemaphorePermit>) {
        let carried = v1::Delivery::decode(delivery.payload()).ok();
        let read = carried.and_then(|carried| {
            Some(IncomingPlan { plan: decode::<Plan>(&carried.plan).ok()?, token: carried.token })
        });
        let Some(incoming) = read else {
            tracing::warn!("malformed plan in the queue");
            return acknowledge(delivery).await;
        };
        match &self.shares {
            Some(shares) => shares.enqueue(incoming, delivery, permit).await,
            None => drop(self.runner.run(incoming, Custody::Own, Some(delivery), permit).await),
        }
    }

    /// Ends sessions that a coordinator has cancelled before their deadline. No proof is required: a coordinator
    /// could stop a session anyway, by not starting it.
    async fn watch_cancellations(self: Arc<Self>) {
        let cancel = |payload: Vec<u8>| {
            if let Ok(session) = payload.try_into() {
                self.party.running.cancel(SessionId(session));
            }
            std::future::ready(())
        };
        listen_to(&*self.queue, CANCELLED, cancel).await;
    }

    /// Reports sessions that have ended without a report, and everything that no coordinator has taken yet.
    async fn report_again(&self, ended: Vec<SignedReport>) -> Result<(), StoreError> {
        for report in ended {
            self.reporter.report(report).await;
        }
        self.reporter.flush_reports().await
    }

    /// Reports again what no coordinator has taken, and forgets what is over, again and again. What a turn has begun to
    /// store is stored: it must not be lost at the end of the process.
    async fn maintain(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = interval(MAINTENANCE_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let maintained = async {
                self.party.store_again().await;
                self.party.check_clock().await?;
                self.party.check_set_back().await?;
                self.party.load_suspensions().await?;
                let ended = recovery::end_abandoned(&self.party, None).await?;
                // What is not reported now is reported after the restart.
                if let Some(flushed) = stop.run_until_cancelled(self.report_again(ended)).await {
                    flushed?;
                }
                self.party.store.forget_expired().await
            };
            if let Err(error) = maintained.await {
                tracing::error!(error = %chain(&error), "the party's store failed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_backends::cache::MemoryCache;
    use quorate_backends::database::{Database, sql};
    use quorate_backends::queue::MemoryQueue;
    use quorate_core::identity::SecretKey;
    use quorate_core::{AccountId, OrderId, PartyIndex, PlanHash};
    use quorate_net::clock::SystemClock;
    use quorate_net::memory::{channel, in_memory};
    use quorate_net::router_client::RouterClient;
    use quorate_party_store::{BannedParty, Crypter, DecidedIn, MasterKey, PartyStore};
    use zeroize::Zeroizing;

    use super::*;
    use crate::PartySetup;

    const SEED: [u8; 32] = [1; 32];

    async fn open(database: &Database) -> PartyStore {
        let master = MasterKey::from_hex(&"01".repeat(32)).unwrap();
        let crypter = Crypter::new(master, SecretKey::from_seed(&SEED).public());
        PartyStore::open(database.clone(), crypter).await.unwrap()
    }

    #[tokio::test]
    async fn a_ban_that_the_store_has_refused_is_stored_before_the_process_ends() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::sqlite(&folder.path().join("party.db")).await.unwrap();
        let (_nobody, connector) = in_memory();
        let party = Party::new(PartySetup {
            seed: Zeroizing::new(SEED),
            originators: vec![],
            pinned: vec![],
            minimum_plugins: std::collections::BTreeMap::new(),
            store: open(&database).await,
            replica: "test".into(),
            clock: Arc::new(SystemClock),
            router: RouterClient::new(channel(connector.clone())),
            cache: Arc::new(MemoryCache::default()),
            signatures_per_day: None,
            plugin_texts: quorate_runtime::PluginText::Discarded,
        });
        let party = Arc::new(party.await.unwrap());
        let account = AccountId([2; 16]);
        sql("CREATE TRIGGER refuse BEFORE INSERT ON bans BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
            .execute(&database)
            .await
            .unwrap();
        let decided_in = DecidedIn { session: SessionId([4; 32]), plan: PlanHash([4; 32]) };
        let cheat = BannedParty { account, share_set: None, party: PartyIndex::FIRST };
        party.ban(&[cheat], decided_in).await.unwrap_err();
        assert!(party.trouble_text().is_some());
        sql("DROP TRIGGER refuse").execute(&database).await.unwrap();
        let queue = Arc::new(MemoryQueue::default());
        let worker = PartyWorker::new(WorkerSetup { party, queue, coordinators: channel(connector).into() });
        let stop = CancellationToken::new();
        stop.cancel();
        Arc::new(worker).serve(vec![], stop, Duration::from_secs(1)).await;
        let facts = open(&database).await.admission_facts(OrderId([4; 32]), account, PlanHash([5; 32])).await;
        assert_eq!(facts.unwrap().banned, [PartyIndex::FIRST]);
    }
}
