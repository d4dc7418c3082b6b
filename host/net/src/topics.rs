//! The names by which roles reach each other at the queue: topics that several read, and one queue of plans per party.

use std::time::Duration;

use quorate_backends::queue::{BrokerLayout, Queue};
use quorate_core::identity::PublicKey;

use crate::telemetry::chain;

/// The topic on which a coordinator announces the sessions that it has cancelled. Parties read it.
pub const CANCELLED: &str = "cancelled";

/// The topic on which a coordinator passes on reports whose session another coordinator waits for.
pub const REPORTS: &str = "reports";

/// The topic of frames between routers, for parties that are attached to another router.
pub const FRAMES: &str = "frames";

/// How often a party sends a heartbeat.
pub const PARTY_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);

/// How long to wait before a topic is listened to again.
const LISTEN_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Passes every announcement of a topic to `handle`, for as long as it is polled. Listens again when the broker is back.
pub async fn listen_to<Handled: Future<Output = ()>>(
    queue: &dyn Queue,
    topic: &str,
    mut handle: impl FnMut(Vec<u8>) -> Handled,
) {
    loop {
        match queue.listen(topic).await {
            Ok(mut listener) => {
                while let Ok(payload) = listener.next().await {
                    handle(payload).await;
                }
            }
            Err(error) => tracing::warn!(error = %chain(&error), topic, "failed to subscribe"),
        }
        tokio::time::sleep(LISTEN_RETRY_DELAY).await;
    }
}

/// The topic of one party's heartbeats: the party announces itself on it, every coordinator reads it.
#[must_use]
pub fn presence_of(identity: &PublicKey) -> String {
    format!("presence.{identity}")
}

/// The topic of what the components of one party say while their sessions run: account services read it, and show it.
#[must_use]
pub fn events_of(identity: &PublicKey) -> String {
    format!("events.{identity}")
}

/// What a deployment of these parties has at its broker.
#[must_use]
pub fn broker_layout(namespace: &str, parties: &[PublicKey]) -> BrokerLayout {
    let queues: Vec<String> = parties.iter().map(queue_of).collect();
    let shared = [CANCELLED, REPORTS, FRAMES].map(str::to_owned);
    let of_parties = parties.iter().flat_map(|party| [presence_of(party), events_of(party)]);
    let topics: Vec<String> = shared.into_iter().chain(of_parties).collect();
    BrokerLayout::new(namespace, &queues, &topics)
}

/// The queue of a party's plans.
#[must_use]
pub fn queue_of(identity: &PublicKey) -> String {
    format!("party.{identity}")
}
