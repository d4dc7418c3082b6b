//! The queue on RabbitMQ: quorum queues, publisher confirms, manual acknowledgements.
//!
//! One connection per process, made again when it breaks: what is called meanwhile fails with
//! [`QueueError::Unavailable`]. A connection that does not answer in time is given up. Messages of queues survive the
//! broker's restart; announcements do not.
//!
//! Queues and topics are made by an administrator ([`BrokerLayout`]). A process makes none but its own, in which
//! announcements wait for it: no user at the broker may change what others use.

mod address;
mod connection;
mod consumer;
mod layout;
mod listener;
mod names;
mod publishers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use connection::{Connected, Connections};
use lapin::options::{BasicGetOptions, BasicPublishOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::{BasicProperties, Confirmation, ErrorKind};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::{Consumer, MAX_DEAD_LETTERS, MAX_QUEUE_LENGTH, Queue, QueueError, TopicListener};

pub use address::{RabbitAddress, RabbitAddressError};
pub use layout::{BrokerLayout, ExchangeLayout, LayoutError, QueueArgument, QueueLayout, Routing};

/// How long the broker may take to answer.
const BROKER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the answer that a queue has room is cached.
const CAPACITY_CACHE_DURATION: Duration = Duration::from_millis(200);

/// What the log says of a queue or topic that is missing.
const NOT_THERE: &str = "a queue or topic is not there: an administrator of RabbitMQ runs `quorate migrate queues`, or compose \
                         `./deploy.sh up`";

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

    /// Runs something on the current connection; gives the connection up if it does not answer. What the broker refuses
    /// has ended the channel that it was said on, and nothing else.
    async fn on_connection<T>(
        &self,
        work: impl AsyncFnOnce(&Connected) -> Result<T, lapin::Error>,
    ) -> Result<T, QueueError> {
        // Other callers may be connecting already: the wait is bounded for each.
        let connected = timeout(BROKER_TIMEOUT, self.connections.current()).await;
        let connected = connected.unwrap_or(Err(QueueError::Unavailable))?;
        match timeout(BROKER_TIMEOUT, work(&connected)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if let Some(refusal) = refusal(&error) => {
                match refusal {
                    AMQPSoftError::NOTFOUND => tracing::error!(%error, "{NOT_THERE}"),
                    _ => tracing::error!(%error, "RabbitMQ refused: this process lacks a right there"),
                }
                Err(QueueError::Refused)
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "RabbitMQ failed");
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
            let properties = BasicProperties::default()
                .with_delivery_mode(2)
                .with_expiration(time_to_live.as_millis().to_string().into());
            let Connected { connection, publishers, namespace, .. } = connected;
            publishers.publish(connection, namespace, queue, &payload, properties).await
        });
        match confirmed.await? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Nack(_) => Err(QueueError::Full),
            Confirmation::Ack(Some(_)) | Confirmation::NotRequested => {
                tracing::error!(queue, "{NOT_THERE}");
                Err(QueueError::Refused)
            }
        }
    }

    async fn has_room(&self, queue: &str) -> Result<bool, QueueError> {
        if let Some((at, room)) = self.rooms.lock().get(queue)
            && at.elapsed() < CAPACITY_CACHE_DURATION
        {
            return Ok(*room);
        }
        let waiting = self.on_connection(async |connected: &Connected| {
            let Connected { connection, publishers, namespace, .. } = connected;
            publishers.waiting(connection, namespace, queue).await
        });
        let waiting = waiting.await?;
        let room = usize::try_from(waiting).unwrap_or(usize::MAX) < MAX_QUEUE_LENGTH;
        let mut rooms = self.rooms.lock();
        rooms.retain(|_, (at, _)| at.elapsed() < CAPACITY_CACHE_DURATION);
        rooms.insert(queue.to_owned(), (Instant::now(), room));
        Ok(room)
    }

    async fn consume(&self, queue: &str, prefetch: usize) -> Result<Box<dyn Consumer>, QueueError> {
        let consumer = self.on_connection(async |connected: &Connected| {
            consumer::RabbitConsumer::begin(connected, queue, prefetch).await
        });
        Ok(Box::new(consumer.await?))
    }

    async fn announce(&self, topic: &str, payload: Vec<u8>) -> Result<(), QueueError> {
        self.on_connection(async |connected: &Connected| {
            let exchange = connected.topic(topic).await?;
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

/// Why the broker refused something that concerns one channel only.
fn refusal(error: &lapin::Error) -> Option<AMQPSoftError> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => match error.kind() {
            AMQPErrorKind::Soft(refusal) => Some(refusal.clone()),
            AMQPErrorKind::Hard(_) => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{service, unique};

    fn address() -> RabbitAddress {
        RabbitAddress::new(&service("TEST_RABBITMQ_URL")).unwrap()
    }

    async fn fresh() -> RabbitQueue {
        let namespace = unique();
        let names = |names: [&str; 2]| names.map(str::to_owned);
        let layout = BrokerLayout::new(&namespace, &names(["q", "other"]), &names(["news", "other"]));
        layout.create(&address()).await.unwrap();
        RabbitQueue::connect(address(), &namespace).await.unwrap()
    }

    super::super::conformance::suite!(fresh());

    #[tokio::test]
    async fn a_layout_is_made_once_and_again_changes_nothing() {
        let namespace = unique();
        let layout = BrokerLayout::new(&namespace, &["q".into()], &["news".into()]);
        layout.create(&address()).await.unwrap();
        layout.create(&address()).await.unwrap();
        let mut other = layout.clone();
        other.queues[1].arguments.clear();
        let refused = other.create(&address()).await.unwrap_err().to_string();
        assert!(refused.contains("PRECONDITION_FAILED"), "{refused}");
    }

    #[tokio::test]
    async fn what_is_not_there_is_refused_and_disturbs_nothing_else() {
        let queue = fresh().await;
        let mut consumer = queue.consume("q", 1).await.unwrap();
        let mut listener = queue.listen("news").await.unwrap();
        let life = Duration::from_secs(60);
        assert_eq!(queue.publish("nowhere", vec![1], life).await, Err(QueueError::Refused));
        assert_eq!(queue.has_room("nowhere").await, Err(QueueError::Refused));
        assert_eq!(queue.consume("nowhere", 1).await.err(), Some(QueueError::Refused));
        assert_eq!(queue.announce("nowhere", vec![1]).await, Err(QueueError::Refused));
        assert_eq!(queue.listen("nowhere").await.err(), Some(QueueError::Refused));
        queue.publish("q", vec![7], life).await.unwrap();
        queue.announce("news", vec![8]).await.unwrap();
        assert_eq!(consumer.next().await.unwrap().payload(), [7]);
        assert_eq!(listener.next().await.unwrap(), [8]);
    }
}
