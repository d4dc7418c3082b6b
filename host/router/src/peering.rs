//! Forwarding between routers: frames for parties that are not attached to the router that they arrived at.
//!
//! A router forwards nothing until it has heard of another router.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use quorate_backends::queue::Queue;
use quorate_core::time::whole_millis;
use quorate_core::{PartyIndex, SessionId};
use quorate_net::router_client::session_party_index;
use quorate_net::telemetry::chain;
use quorate_net::topics::{FRAMES, listen_to};
use quorate_proto::convert::session_id;
use quorate_proto::v1::Forwarded;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::hub::{FrameSource, Hub, MAX_TIME_TO_LIVE};

/// Frames that wait to be passed on. What finds no room is lost, and sent again by its session.
const MAX_WAITING_PEER_FRAMES: usize = 1_024;

/// The interval of a router's heartbeats.
const ROUTER_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// How long another router counts as online after a heartbeat.
const PEER_TIMEOUT: Duration = Duration::from_millis(3_500);

/// How long to wait before frames are published again.
const PUBLISH_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The way to the other routers.
pub struct Peering {
    queue: Arc<dyn Queue>,
    me: Bytes,
    waiting: mpsc::Sender<Forwarded>,
    others: Mutex<Option<Instant>>,
}

/// The frames that a router has still to forward.
pub struct ForwardQueue(mpsc::Receiver<Forwarded>);

impl Peering {
    /// The peering of a router over a queue; `me` is a random name.
    #[must_use]
    pub fn new(queue: Arc<dyn Queue>, me: [u8; 16]) -> (Arc<Self>, ForwardQueue) {
        let (waiting, outbox) = mpsc::channel(MAX_WAITING_PEER_FRAMES);
        let me = Bytes::copy_from_slice(&me);
        (Arc::new(Self { queue, me, waiting, others: Mutex::default() }), ForwardQueue(outbox))
    }

    /// Passes a frame on to the other routers, if there are any.
    pub(super) fn forward(&self, session: SessionId, to: PartyIndex, frame: Bytes, time_to_live: Duration) {
        self.enqueue(Forwarded {
            session: Bytes::copy_from_slice(session.as_bytes()),
            to: to.number().into(),
            frame,
            time_to_live_ms: whole_millis(time_to_live),
            ..Forwarded::default()
        });
    }

    /// Tells the other routers that a party of a session is back.
    pub(super) fn announce_return(&self, session: SessionId, party: PartyIndex) {
        let session = Bytes::copy_from_slice(session.as_bytes());
        self.enqueue(Forwarded { session, back: party.number().into(), ..Forwarded::default() });
    }

    fn enqueue(&self, forwarded: Forwarded) {
        let heard = *self.others.lock();
        if heard.is_some_and(|at| at.elapsed() <= PEER_TIMEOUT)
            && self.waiting.try_send(Forwarded { router: self.me.clone(), ..forwarded }).is_err()
        {
            tracing::debug!("no room for a frame to another router; its sender sends it again");
        }
    }

    /// Passes frames on and takes in those of the others, until `stop`.
    pub async fn work(self: Arc<Self>, mut outbox: ForwardQueue, hub: Hub, stop: CancellationToken) {
        let mut tick = interval(ROUTER_HEARTBEAT_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let sending = async {
            loop {
                let forwarded = tokio::select! {
                    Some(forwarded) = outbox.0.recv() => forwarded,
                    // Without a frame it only says that this router is there.
                    _ = tick.tick() => Forwarded { router: self.me.clone(), ..Forwarded::default() },
                };
                if let Err(error) = self.queue.announce(FRAMES, forwarded.encode_to_vec()).await {
                    tracing::warn!(error = %chain(&error), "failed to publish frames to other routers");
                    tokio::time::sleep(PUBLISH_RETRY_DELAY).await;
                }
            }
        };
        let hearing = listen_to(&*self.queue, FRAMES, |payload| {
            self.heard(&hub, &payload);
            std::future::ready(())
        });
        tokio::select! {
            () = stop.cancelled() => {}
            () = sending => {}
            () = hearing => {}
        }
    }

    fn heard(&self, hub: &Hub, payload: &[u8]) {
        let Ok(forwarded) = Forwarded::decode(payload) else { return };
        if forwarded.router == self.me {
            return;
        }
        *self.others.lock() = Some(Instant::now());
        let Ok(session) = session_id(&forwarded.session) else { return };
        if let Some(back) = session_party_index(forwarded.back) {
            hub.announce_return(session, back);
        }
        if let Some(to) = session_party_index(forwarded.to) {
            let time_to_live = Duration::from_millis(forwarded.time_to_live_ms).min(MAX_TIME_TO_LIVE);
            hub.send(FrameSource::OtherRouters, (session, to), forwarded.frame, time_to_live);
        }
    }
}
