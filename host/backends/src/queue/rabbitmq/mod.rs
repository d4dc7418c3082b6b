//! The queue on RabbitMQ: quorum queues, publisher confirms, manual acknowledgements.
//!
//! One connection per process, made again when it breaks: what is called meanwhile fails with
//! [`QueueError::Unavailable`]. A connection that does not answer in time is given up. Messages of queues survive the
//! broker's restart; announcements do not.

mod connection;
mod consumer;
mod listener;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use connection::{Connected, Connections};
use lapin::options::{BasicGetOptions, BasicPublishOptions};
use lapin::{BasicProperties, Confirmation};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::{Consumer, MAX_DEAD_LETTERS, MAX_QUEUE_LENGTH, Queue, QueueError, TopicListener};

pub use connection::{RabbitAddress, RabbitAddressError};

/// How long the broker may take to answer.
const BROKER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the answer that a queue has room is cached.
const CAPACITY_CACHE_DURATION: Duration = Duration::from_millis(200);

/// Queues on a RabbitMQ broker. Clones share the connection.
#[derive(Clone)]
pub struct RabbitQueue {
    connections: Arc<Connections>,
    rooms: Arc<Mutex<HashMap<String, (Instant, bool)>>>,
}

impl RabbitQueue {
    /// Connects. All names of queues and topics begin with the namespace: deployments with different ones share a
    /// broker.
    ///
    /// # Errors
    /// When the broker can't be reached, or does not let us in: the log says which.
    pub async fn connect(address: RabbitAddress, namespace: &str) -> Result<Self, QueueError> {
        let queue = Self {
            connections: Arc::new(Connections::new(address, namespace.to_owned())),
            rooms: Arc::default(),
        };
        queue.connections.current().await?;
        Ok(queue)
    }

    /// Runs something on the current connection; gives the connection up if it does not answer.
    async fn on_connection<T>(
        &self,
        work: impl AsyncFnOnce(&Connected) -> Result<T, lapin::Error>,
    ) -> Result<T, QueueError> {
        // Other callers may be connecting already: the wait is bounded for each.
        let connected = timeout(BROKER_TIMEOUT, self.connections.current()).await;
        let connected = connected.unwrap_or(Err(QueueError::Unavailable))?;
        match timeout(BROKER_TIMEOUT, work(&connected)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                tracing::warn!(%error, "RabbitMQ refused");
                self.connections.discard(&connected);
                Err(QueueError::Unavailable)
            }
            Err(_) => {
                tracing::warn!("RabbitMQ does not answer");
                self.connections.discard(&connected);
                Err(QueueError::Unavailable)
            }
        }
    }
}

#[async_trait]
impl Queue for RabbitQueue {
    async fn publish(&self, queue: &str, payload: Vec<u8>, time_to_live: Duration) -> Result<(), QueueError> {
        let confirmed = self.on_connection(async |connected: &Connected| {
            connected.declare(queue).await?;
            let properties = BasicProperties::default()
                .with_delivery_mode(2)
                .with_expiration(time_to_live.as_millis().to_string().into());
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let name = connected.queue_name(queue).into();
            connected.publisher.basic_publish("".into(), name, options, &payload, properties).await?.await
        });
        match confirmed.await? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Nack(_) => Err(QueueError::Full),
            Confirmation::Ack(Some(_)) | Confirmation::NotRequested => {
                // The queue was deleted: it is declared again the next time.
                self.connections.current().await?.forget(queue);
                Err(QueueError::Unavailable)
            }
        }
    }

    async fn has_room(&self, queue: &str) -> Result<bool, QueueError> {
        if let Some((at, room)) = self.rooms.lock().get(queue)
            && at.elapsed() < CAPACITY_CACHE_DURATION
        {
            return Ok(*room);
        }
        let waiting =
            self.on_connection(async |connected: &Connected| connected.declare_anew(queue).await).await?;
        let room = usize::try_from(waiting).unwrap_or(usize::MAX) < MAX_QUEUE_LENGTH;
        let mut rooms = self.rooms.lock();
        rooms.retain(|_, (at, _)| at.elapsed() < CAPACITY_CACHE_DURATION);
        rooms.insert(queue.to_owned(), (Instant::now(), room));
        Ok(room)
    }

    async fn consume(&self, queue: &str, prefetch: usize) -> Result<Box<dyn Consumer>, QueueError> {
        let consumer = self.on_connection(async |connected: &Connected| {
            connected.declare(queue).await?;
            consumer::RabbitConsumer::begin(connected, queue, prefetch).await
        });
        Ok(Box::new(consumer.await?))
    }

    async fn announce(&self, topic: &str, payload: Vec<u8>) -> Result<(), QueueError> {
        self.on_connection(async |connected: &Connected| {
            let exchange = connected.declare_topic(topic).await?;
            let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
            connected
                .announcer
                .basic_publish(exchange.into(), "".into(), options, &payload, properties)
                .await?;
            Ok(())
        })
        .await
    }

    async fn listen(&self, topic: &str) -> Result<Box<dyn TopicListener>, QueueError> {
        let listener = self.on_connection(async |connected: &Connected| {
            listener::RabbitListener::begin(connected, topic).await
        });
        Ok(Box::new(listener.await?))
    }

    async fn dead_letters(&self, queue: &str) -> Result<Vec<Vec<u8>>, QueueError> {
        self.on_connection(async |connected: &Connected| {
            connected.declare(queue).await?;
            let channel = connected.connection.create_channel().await?;
            let mut payloads = Vec::new();
            while payloads.len() < MAX_DEAD_LETTERS
                && let Some(message) =
                    channel.basic_get(connected.dead_name(queue).into(), BasicGetOptions::default()).await?
            {
                payloads.push(message.delivery.data);
            }
            // Messages that were not acknowledged return to their place in the queue.
            channel.close(200, "".into()).await?;
            Ok(payloads)
        })
        .await
    }

    async fn ping(&self) -> Result<(), QueueError> {
        self.connections.current().await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{service, unique};

    async fn fresh() -> RabbitQueue {
        let address = RabbitAddress::new(&service("TEST_RABBITMQ_URL")).unwrap();
        RabbitQueue::connect(address, &unique()).await.unwrap()
    }

    super::super::conformance::suite!(fresh());
}
