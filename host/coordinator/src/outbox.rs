//! Plans on their way to the parties: recorded first, then published exactly as recorded.
//!
//! The plan of a session lies in the store's outbox from the transaction that records the session until it is in all
//! queues. If a coordinator dies in between, any other publishes it; a plan that comes twice is claimed once.

use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join_all;
use prost::Message;
use quorate_backends::database::StoreError;
use quorate_backends::queue::QueueError;
use quorate_core::PartyIndex;
use quorate_core::codec::decode;
use quorate_core::order::Order;
use quorate_core::plan::Plan;
use quorate_net::join_token::{JoinKey, Joiner};
use quorate_net::telemetry::chain;
use quorate_net::topics::queue_of;
use quorate_proto::v1::Delivery;

use super::services::Services;

/// How long a plan may lie in the outbox before another coordinator publishes it.
const STALE_PLAN_AGE: Duration = Duration::from_millis(1_500);

/// A plan, and its bytes as they were recorded.
pub(super) struct OutgoingPlan<'a> {
    pub(super) order: &'a Order,
    pub(super) plan: &'a Plan,
    pub(super) bytes: Vec<u8>,
}

/// A plan did not get into a queue.
pub(super) struct NotQueued {
    /// The party whose queue it is.
    pub(super) party: PartyIndex,
    pub(super) error: QueueError,
}

impl NotQueued {
    /// Whether the other parties' queues may well take plans. A party that does not empty its queue, or has none, stops
    /// nobody else.
    pub(super) fn is_of_this_party(&self) -> bool {
        match self.error {
            QueueError::Full | QueueError::Refused => true,
            QueueError::Unavailable => false,
        }
    }
}

/// Publishes plans, through the store's outbox.
pub(super) struct Outbox {
    services: Services,
    /// Lets parties into sessions at the routers.
    key: JoinKey,
}

impl Outbox {
    pub(super) fn new(services: Services, key: JoinKey) -> Self {
        Self { services, key }
    }

    /// Says no before anything is recorded if the queue of a signer takes no plan.
    pub(super) async fn check_queues(&self, order: &Order, signers: &[PartyIndex]) -> Result<(), NotQueued> {
        for &party in signers {
            let Some(key) = order.spec.party(party) else { continue };
            match self.services.queue.has_room(&queue_of(key)).await {
                Ok(true) => {}
                Ok(false) => return Err(NotQueued { party, error: QueueError::Full }),
                Err(error) => return Err(NotQueued { party, error }),
            }
        }
        Ok(())
    }

    /// Publishes a plan that has been recorded, to all its signers.
    pub(super) async fn publish(&self, outgoing: &OutgoingPlan<'_>) -> Result<(), NotQueued> {
        let OutgoingPlan { order, plan, bytes } = outgoing;
        let (session, now) = (plan.session_id(), self.services.now());
        let time_to_live = plan.deadline.since(now);
        let bytes = Bytes::copy_from_slice(bytes);
        let publishing = plan.signers.iter().filter_map(|&signer| {
            let identity = order.spec.party(signer)?;
            let queue = queue_of(identity);
            let joiner = Joiner { identity, party: signer, parties: order.spec.threshold.parties() };
            let token = self.key.token(session, joiner, plan.deadline.seconds());
            let payload = Delivery { plan: bytes.clone(), token }.encode_to_vec();
            Some(async move {
                let published = self.services.queue.publish(&queue, payload, time_to_live).await;
                published.map_err(|error| NotQueued { party: signer, error })
            })
        });
        try_join_all(publishing).await?;
        if let Err(error) = self.services.store.mark_published(session).await {
            // It is published again, and claimed once.
            tracing::warn!(error = %chain(&error), "failed to take a published plan out of the outbox");
        }
        Ok(())
    }

    /// Publishes what coordinators that are gone have recorded and not published.
    pub(super) async fn republish_stale(&self) -> Result<(), StoreError> {
        let now = self.services.now();
        for bytes in self.services.store.unpublished(now - STALE_PLAN_AGE, now).await? {
            let Ok(plan) = decode::<Plan>(&bytes) else { continue };
            let Ok(order) = decode::<Order>(plan.order.bytes()) else { continue };
            tracing::info!(session = %plan.session_id(), "publishing a plan that another coordinator has left in the outbox");
            let published = self.publish(&OutgoingPlan { order: &order, plan: &plan, bytes }).await;
            if let Err(NotQueued { party, error }) = published {
                tracing::warn!(error = %chain(&error), %party, "failed to publish a plan of the outbox");
            }
        }
        Ok(())
    }
}
