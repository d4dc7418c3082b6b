//! The last phase: this party has its result, and goes on answering peers for a while, without holding up the result.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::acknowledgement::Acknowledgement;
use quorate_core::certificate::Certificate;
use quorate_core::codec::{decode, encode};
use quorate_core::identity::{PublicKey, key_of};
use quorate_core::session::Frame;
use quorate_core::{PartyIndex, PlanHash, UnixMillis};
use quorate_net::router_client::RouterEvent;
use quorate_net::telemetry::chain;
use quorate_party_store::PartyStore;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::connection::{Connection, LINGER_DURATION};
use super::context::SessionContext;

/// How often promises and acknowledgements are sent again.
pub(super) const REPEAT_INTERVAL: Duration = Duration::from_millis(500);

/// Answers peers that still wait, in a task of its own, until all have finished or none has asked for a while.
pub(super) fn linger(context: &SessionContext, mut connection: Connection) {
    let at_most = context.remaining() + LINGER_DURATION;
    let clock = Arc::clone(&context.party.clock);
    let lingering = async move {
        let mut until = Instant::now() + LINGER_DURATION;
        while !connection.session.all_finished()
            && let Ok(event) = timeout_at(until, connection.router.receive()).await
        {
            let RouterEvent::Frame(frame) = event else { continue };
            if connection.answer(&frame, clock.millis()).await {
                // A peer still waits, and the answer may be lost too.
                until = Instant::now() + LINGER_DURATION;
            }
        }
    };
    spawn_for(context, at_most, lingering);
}

/// Sends the certificate to peers that may lack it, acknowledges it, and keeps the acknowledgements of the others, in a task of
/// its own.
pub(super) fn broadcast_certificate(
    context: &SessionContext,
    connection: Connection,
    certificate: Certificate,
    parties: Vec<PublicKey>,
) {
    let plan = certificate.activation.plan;
    let own = Acknowledgement::sign(plan, context.me(), &context.party.key());
    let broadcast = CertificateBroadcast {
        connection,
        peers: context.peers().collect(),
        plan,
        parties,
        certificate: encode(&Frame::Certificate(certificate)),
        own: encode(&Frame::Acknowledgement(own)),
        kept: BTreeSet::new(),
        store: context.party.store.clone(),
    };
    let clock = Arc::clone(&context.party.clock);
    spawn_for(context, LINGER_DURATION, broadcast.run(move || clock.millis()));
}

/// Runs `work` in a task of its own, for at most that long, and not beyond the end of the party or the ban of a peer.
fn spawn_for(context: &SessionContext, at_most: Duration, work: impl Future<Output = ()> + Send + 'static) {
    let (closing, running) = (context.party.closing.clone(), Arc::clone(&context.running));
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::time::timeout(at_most, work) => {}
            () = closing.cancelled() => {}
            () = running.banned.cancelled() => {}
        }
    });
}

struct CertificateBroadcast {
    connection: Connection,
    peers: Vec<PartyIndex>,
    plan: PlanHash,
    /// The identity keys of all parties, in index order.
    parties: Vec<PublicKey>,
    /// The frame with the certificate.
    certificate: Vec<u8>,
    /// The frame with this party's acknowledgement.
    own: Vec<u8>,
    /// Whose acknowledgements are in the store.
    kept: BTreeSet<PartyIndex>,
    store: PartyStore,
}

impl CertificateBroadcast {
    async fn run(mut self, now: impl Fn() -> UnixMillis) {
        self.send_to_all(&self.certificate);
        let mut tick = interval(REPEAT_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                RouterEvent::Frame(frame) = self.connection.router.receive() => self.on_frame(&frame, now()).await,
                // To all, until the end: it is not known which peer still waits for it.
                _ = tick.tick() => self.send_to_all(&self.own),
            }
        }
    }

    fn send_to_all(&self, frame: &[u8]) {
        self.peers.iter().for_each(|&peer| self.connection.send(peer, frame.to_vec()));
    }

    async fn on_frame(&mut self, frame: &[u8], now: UnixMillis) {
        match decode::<Frame>(frame) {
            Ok(Frame::Ready(ready)) if self.peers.contains(&ready.by) => {
                self.connection.send(ready.by, self.certificate.clone());
            }
            Ok(Frame::Acknowledgement(acknowledgement)) => self.keep(acknowledgement).await,
            Ok(_) => drop(self.connection.answer(frame, now).await),
            Err(_) => {}
        }
    }

    /// Stores a peer's acknowledgement. One that the store refuses comes again.
    async fn keep(&mut self, acknowledgement: Acknowledgement) {
        let by = acknowledgement.by;
        let key = key_of(&self.parties, by).filter(|key| acknowledgement.verify(key).is_ok());
        if key.is_none()
            || acknowledgement.plan != self.plan
            || !self.peers.contains(&by)
            || self.kept.contains(&by)
        {
            return;
        }
        match self.store.keep_acknowledgements(&[acknowledgement]).await {
            Ok(()) => drop(self.kept.insert(by)),
            Err(error) => tracing::error!(error = %chain(&error), "an acknowledgement was not stored"),
        }
    }
}
