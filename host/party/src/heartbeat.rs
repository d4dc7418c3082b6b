//! Heartbeats: a party announces itself and its components to all coordinators.

use std::sync::Arc;

use quorate_backends::queue::Queue;
use quorate_core::PoolId;
use quorate_core::codec::encode;
use quorate_core::heartbeat::{Heartbeat, Trouble};
use quorate_net::topics::{PARTY_HEARTBEAT_INTERVAL, presence_of};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::party::Party;

/// Sends a heartbeat at every interval and whenever the components change, until it is dropped.
pub(crate) async fn send_heartbeats(party: Arc<Party>, queue: Arc<dyn Queue>) {
    let mut process = Process { id: party.store.pool_id(), number: 0 };
    let topic = presence_of(&party.identity());
    let mut tick = interval(PARTY_HEARTBEAT_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = party.registry.changed() => {}
        }
        let asked = timeout(PARTY_HEARTBEAT_INTERVAL, party.store.database().ping()).await;
        let heartbeat = process.heartbeat(&party, matches!(asked, Ok(Ok(()))));
        if let Err(error) = queue.announce(&topic, encode(&heartbeat.sign(&party.key()))).await {
            tracing::warn!(%error, "heartbeat not sent");
        }
    }
}

/// Where the numbers of a process's heartbeats come from.
struct Process {
    /// Its pool of single-use material: no other process has it.
    id: PoolId,
    number: u64,
}

impl Process {
    fn heartbeat(&mut self, party: &Party, store_answers: bool) -> Heartbeat {
        self.number += 1;
        let (key_name, key_proof) = party.store.key_name();
        Heartbeat {
            identity: party.identity(),
            replica: party.replica.clone(),
            process: self.id,
            number: self.number,
            at: party.clock.millis(),
            key_name,
            key_proof,
            trouble: if store_answers { party.trouble() } else { Some(Trouble::Store) },
            plugins: party.registry.facts(),
        }
    }
}
