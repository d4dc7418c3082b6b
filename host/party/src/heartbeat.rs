//! Heartbeats: a party announces itself and its components to all coordinators.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use quorate_backends::queue::Queue;
use quorate_net::topics::{PARTY_HEARTBEAT_INTERVAL, PRESENCE};
use quorate_proto::v1::{Plugin, Presence};
use tokio::time::{MissedTickBehavior, interval};

use crate::party::Party;

/// Sends a heartbeat at every interval and whenever the components change, until it is dropped.
pub(crate) async fn send_heartbeats(party: Arc<Party>, queue: Arc<dyn Queue>) {
    let mut tick = interval(PARTY_HEARTBEAT_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = party.registry.changed() => {}
        }
        if let Err(error) = queue.announce(PRESENCE, presence(&party).encode_to_vec()).await {
            tracing::warn!(%error, "heartbeat not sent");
        }
    }
}

fn presence(party: &Party) -> Presence {
    let (key_name, key_proof) = party.store.key_name();
    Presence {
        identity: Bytes::copy_from_slice(&party.identity().0),
        plugins: party.registry.facts().iter().map(Plugin::from).collect(),
        key_name: Bytes::copy_from_slice(&key_name.0),
        key_proof: Bytes::copy_from_slice(&key_proof.0),
    }
}
