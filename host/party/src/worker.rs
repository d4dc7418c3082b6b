//! The party at work: takes plans from its queue, tells that it is there, and reports what became of every plan.
//!
//! A plan is acknowledged when its session is claimed or refused: from then on the queue has no part in it.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use quorate_backends::database::StoreError;
use quorate_backends::queue::{Delivery, Queue, QueueError};
use quorate_core::codec::{decode, encode};
use quorate_core::order::Order;
use quorate_core::plan::Plan;
use quorate_core::report::{Outcome, Report, SignedReport};
use quorate_core::{PartyIndex, SessionId};
use quorate_net::grpc::MESSAGE_BYTES;
use quorate_net::replicas::Replicas;
use quorate_net::topics::{CANCELLED, HEARTBEAT_INTERVAL, PRESENCE, queue_of};
use quorate_proto::v1::coordinator_client::CoordinatorClient;
use quorate_proto::v1::{self, Plugin, Presence, ReportRequest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::user::custody::Custody;
use super::user::shares::Desk;
use super::{NotRun, Party};

/// Sessions of one party at a time. More would only share the same processors; further plans wait in the queue until
/// their deadline.
const SESSIONS: usize = 128;

/// How often a report is tried, and how long to wait before the first repetition; each further wait is twice as long.
const REPORT_TRIES: u32 = 5;
const REPORT_AGAIN: Duration = Duration::from_millis(100);

/// How long a coordinator may take to receive a report.
const REPORT: Duration = Duration::from_secs(3);

/// How often a party reports again what nobody has taken in, and forgets what is over.
const HOUSE: Duration = Duration::from_secs(30);

/// How long to wait before the queue is tried again.
pub(super) const QUEUE_AGAIN: Duration = Duration::from_secs(1);

/// What the party's work takes.
pub struct PartyService {
    /// The party.
    pub party: Arc<Party>,
    /// Where its plans come from.
    pub queue: Arc<dyn Queue>,
    /// Where its reports go.
    pub coordinators: Replicas,
    /// Where plans wait for users, if users keep this party's shares.
    pub desk: Option<Desk>,
}

impl PartyService {
    /// After a restart: ends what was running, and reports that and everything else that is due.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn take_up(&self) -> Result<(), StoreError> {
        for report in self.party.take_up().await? {
            self.report(report).await;
        }
        Ok(())
    }

    /// The same, for a coordinator that may not be there yet: what is due is given to [`PartyService::serve`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn left_behind(&self) -> Result<Vec<SignedReport>, StoreError> {
        self.party.take_up().await
    }

    /// Works until `stop`, and then for at most `grace` on the sessions that are running; those that take longer are
    /// aborted.
    pub async fn serve(
        self: Arc<Self>,
        left_behind: Vec<SignedReport>,
        stop: CancellationToken,
        grace: Duration,
    ) {
        let work = self;
        let tasks = TaskTracker::new();
        let reporter = Arc::clone(&work);
        tasks.spawn(async move {
            for report in left_behind {
                reporter.report(report).await;
            }
        });
        let beating = tokio::spawn(Arc::clone(&work).beat(stop.clone()));
        let hearing = tokio::spawn(Arc::clone(&work).hear_of_cancelled_sessions());
        let keeping = tokio::spawn(Arc::clone(&work).keep_house(stop.clone()));
        let clearing = tokio::spawn(Arc::clone(&work).clear_the_desk());
        Arc::clone(&work).consume(&tasks, &stop).await;
        tasks.close();
        if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
            tracing::warn!(left = tasks.len(), "sessions are aborted: the party is shutting down");
            work.party.close();
            if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
                tracing::error!(left = tasks.len(), "sessions did not end");
            }
        }
        work.party.close();
        beating.abort();
        keeping.abort();
        clearing.abort();
        hearing.abort();
    }

    async fn consume(self: Arc<Self>, tasks: &TaskTracker, stop: &CancellationToken) {
        let slots = Arc::new(Semaphore::new(SESSIONS));
        let name = queue_of(&self.party.identity());
        while !stop.is_cancelled() {
            let consuming = async {
                let mut consumer = self.queue.consume(&name, SESSIONS).await?;
                loop {
                    // The semaphore is never closed.
                    let slot = Arc::clone(&slots).acquire_owned().await.ok();
                    let delivery = consumer.next().await?;
                    let work = Arc::clone(&self);
                    tasks.spawn(async move {
                        work.take(delivery, slot).await;
                    });
                }
            };
            let ended: Result<(), QueueError> = tokio::select! {
                () = stop.cancelled() => return,
                ended = consuming => ended,
            };
            if let Err(error) = ended {
                tracing::warn!(%error, "the queue of plans is gone; trying again");
                tokio::time::sleep(QUEUE_AGAIN).await;
            }
        }
    }

    /// Sessions that a coordinator has given up need not wait for their deadline. It is believed: it need not have begun them.
    async fn hear_of_cancelled_sessions(self: Arc<Self>) {
        loop {
            if let Ok(mut listener) = self.queue.listen(CANCELLED).await {
                while let Ok(payload) = listener.next().await {
                    if let Ok(session) = payload.try_into() {
                        self.party.running.cancel(SessionId(session));
                    }
                }
            }
            tokio::time::sleep(QUEUE_AGAIN).await;
        }
    }

    async fn take(self: Arc<Self>, delivery: Delivery, slot: Option<OwnedSemaphorePermit>) {
        let carried = v1::Delivery::decode(delivery.payload()).ok();
        let read = carried.and_then(|carried| Some((decode::<Plan>(&carried.plan).ok()?, carried.token)));
        let Some((plan, token)) = read else {
            tracing::warn!("what came through the queue is no plan");
            return acknowledge(delivery).await;
        };
        if let Some(desk) = &self.desk {
            return self.put_down(desk, (plan, token), (delivery, slot)).await;
        }
        let _ = self.run_plan((plan, token), Custody::Own, Some(delivery), slot).await;
    }

    /// Runs a plan and reports what came of it.
    ///
    /// # Errors
    /// When it was not taken on; that is reported too.
    pub(super) async fn run_plan(
        &self,
        (plan, token): (Plan, String),
        custody: Custody,
        delivery: Option<Delivery>,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Result<Option<Outcome>, NotRun> {
        let (session, digest) = (plan.session_id(), plan.digest);
        let order = plan.order.clone();
        let taken = self.party.take_on_for(plan, token, custody).await;
        match (&taken, delivery) {
            // It comes again, a few times: the database should be back by then.
            (Err(NotRun::NotKnown(_)), Some(_)) => tokio::time::sleep(QUEUE_AGAIN).await,
            (_, Some(delivery)) => acknowledge(delivery).await,
            (_, None) => {}
        }
        match taken {
            Ok(run) => {
                let (started, party) = (run.started(), Arc::clone(&self.party));
                let outcome = run.in_slot(slot).finish().await;
                if let Some(outcome) = outcome.clone() {
                    self.report(party.report(&started, outcome)).await;
                }
                Ok(outcome)
            }
            Err(refused) => {
                tracing::info!(%session, reason = %refused, "a plan was not taken on");
                // Only an order that is genuine says who this party is.
                let Ok(order) = order.read(self.party.originators()) else { return Err(refused) };
                let (Some(outcome), Some(by)) = (refused.report(), self.index(&order)) else {
                    return Err(refused);
                };
                let report = Report { session, order: order.id, by, digest, outcome: outcome.tamed() };
                let report = report.sign(&self.party.key());
                self.report(report).await;
                Err(refused)
            }
        }
    }

    pub(super) fn index(&self, order: &Order) -> Option<PartyIndex> {
        let me = self.party.identity();
        PartyIndex::all(order.threshold.parties())
            .zip(&order.parties)
            .find(|(_, key)| **key == me)
            .map(|(p, _)| p)
    }

    /// Reports again what nobody has taken in, and forgets what is over.
    async fn keep_house(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = interval(HOUSE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let kept = async {
                self.party.catch_up().await?;
                for report in self.party.abandoned(None).await? {
                    self.report(report).await;
                }
                self.report_what_is_due().await?;
                self.party.store.forget_expired().await
            };
            if let Err(error) = kept.await {
                tracing::error!(%error, cause = ?std::error::Error::source(&error), "the party's store failed");
            }
        }
    }

    /// Gives all reports of which nobody has been told yet.
    pub(super) async fn report_what_is_due(&self) -> Result<(), StoreError> {
        for (plan, report) in self.party.unreported().await? {
            match self.report_once(&report).await {
                Ok(()) => self.party.store.reported(plan).await?,
                // The coordinator does not know the session: it never will.
                Err(error) if error.code() == tonic::Code::InvalidArgument => {
                    self.party.store.reported(plan).await?;
                }
                Err(error) => tracing::warn!(%error, "a report was not taken; it is given again"),
            }
        }
        Ok(())
    }

    async fn report_once(&self, report: &SignedReport) -> Result<(), tonic::Status> {
        let request = ReportRequest { report: encode(report).into() };
        let reporting = self.coordinators.call(REPORT, |channel| {
            let (client, request) = (CoordinatorClient::new(channel), request.clone());
            async { client.max_encoding_message_size(MESSAGE_BYTES).report(request).await }
        });
        reporting.await.map(drop)
    }

    async fn report(&self, report: SignedReport) {
        let mut wait = REPORT_AGAIN;
        for attempt in 1..=REPORT_TRIES {
            let Err(error) = self.report_once(&report).await else {
                return self.noted(&report).await;
            };
            if error.code() == tonic::Code::InvalidArgument {
                tracing::error!(session = %report.report.session, %error, "a report was refused");
                return;
            }
            tracing::warn!(session = %report.report.session, attempt, of = REPORT_TRIES, %error, "a report was not taken");
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    /// What is not noted here is reported again.
    async fn noted(&self, report: &SignedReport) {
        let plan = match &report.report.outcome {
            Outcome::Activated { certificate, .. } => certificate.activation.plan,
            Outcome::Promised { ready, .. } => ready.activation.plan,
            Outcome::Aborted { notice: Some(notice), .. } => notice.notice.plan,
            _ => return,
        };
        if let Err(error) = self.party.store.reported(plan).await {
            tracing::warn!(%error, "it could not be noted that a report was taken");
        }
    }

    async fn beat(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = interval(HEARTBEAT_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
                () = self.party.plugins_changed() => {}
            }
            if let Err(error) = self.queue.announce(PRESENCE, self.presence().encode_to_vec()).await {
                tracing::warn!(%error, "a heartbeat was not sent");
            }
        }
    }

    fn presence(&self) -> Presence {
        let plugins = self.party.plugins().into_iter().map(|plugin| {
            let descriptor = plugin.descriptor();
            Plugin {
                digest: bytes::Bytes::copy_from_slice(plugin.digest().as_bytes()),
                protocol: descriptor.id.clone(),
                version: descriptor.version.clone(),
                schemes: descriptor.schemes.clone(),
                max_parties: descriptor.max_parties.into(),
            }
        });
        let identity = bytes::Bytes::copy_from_slice(&self.party.identity().0);
        let (key_name, key_proof) = self.party.store.key_name();
        let key_name = bytes::Bytes::copy_from_slice(&key_name.0);
        let key_proof = bytes::Bytes::copy_from_slice(&key_proof.0);
        Presence { identity, plugins: plugins.collect(), key_name, key_proof }
    }
}

pub(super) async fn acknowledge(delivery: Delivery) {
    if let Err(error) = delivery.ack().await {
        // It comes again, and is then found to be claimed.
        tracing::warn!(%error, "a plan could not be acknowledged");
    }
}
