//! The services that the parts of a coordinator share.

use std::sync::Arc;

use quorate_backends::queue::Queue;
use quorate_control_store::SessionStore;
use quorate_core::UnixMillis;
use quorate_core::identity::PublicKey;
use quorate_net::clock::Clock;

/// The services that the parts of a coordinator share. Clones are handles to the same services.
#[derive(Clone)]
pub(crate) struct Services {
    /// Where sessions are kept.
    pub(crate) store: SessionStore,
    /// Where plans go, and announcements.
    pub(crate) queue: Arc<dyn Queue>,
    /// The originator keys whose orders are carried out.
    pub(crate) originators: Arc<[PublicKey]>,
    /// The time.
    pub(crate) clock: Arc<dyn Clock>,
}

impl Services {
    /// The time.
    pub(crate) fn now(&self) -> UnixMillis {
        self.clock.millis()
    }

    /// Announces something to all who listen to a topic, without waiting for it.
    pub(crate) fn announce(&self, topic: &'static str, payload: Vec<u8>) {
        let queue = Arc::clone(&self.queue);
        tokio::spawn(async move {
            if let Err(error) = queue.announce(topic, payload).await {
                tracing::debug!(%error, topic, "failed to publish announcement");
            }
        });
    }
}
