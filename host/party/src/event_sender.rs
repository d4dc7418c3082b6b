//! Sends what components say, for people to look at. It is lost where nobody takes it.

use std::sync::Arc;
use std::time::Duration;

use quorate_backends::queue::Queue;
use quorate_core::codec::encode;
use quorate_core::event::SessionEvent;
use quorate_net::topics::events_of;

use crate::party::Party;

/// The shortest time between two events: a process sends 100 in a second at most.
const SPACING: Duration = Duration::from_millis(10);

/// How long the broker may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends the events of all sessions, until it is dropped.
pub(crate) async fn send_events(party: Arc<Party>, queue: Arc<dyn Queue>) {
    let Some(mut waiting) = party.events.waiting() else { return };
    let topic = events_of(&party.identity());
    while let Some((session, event)) = waiting.recv().await {
        let signed = SessionEvent { by: party.identity(), session, event }.sign(&party.key());
        let sent = tokio::time::timeout(SEND_TIMEOUT, queue.announce(&topic, encode(&signed))).await;
        if !matches!(sent, Ok(Ok(()))) {
            tracing::debug!(%session, "an event of a component is lost");
        }
        tokio::time::sleep(SPACING).await;
    }
}
