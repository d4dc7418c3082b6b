//! The queue: plans on their way to parties, and announcements to all listeners.
//!
//! A message is delivered to one consumer, and again to another when that one does not acknowledge it; after
//! [`MAX_DELIVERIES`] deliveries, or when its time is over, it becomes a dead letter. Delivery is at least once:
//! consumers claim what must happen once in their store.
//!
//! An announcement goes to every listener of its topic at the time, once or not at all: a listener that comes later or
//! falls behind misses it.

mod memory;
mod rabbitmq;

#[cfg(test)]
mod conformance;

use std::time::Duration;

use async_trait::async_trait;

pub use memory::MemoryQueue;
pub use rabbitmq::{
    BrokerLayout, ExchangeLayout, LayoutError, QueueArgument, QueueLayout, RabbitAddress, RabbitAddressError,
    RabbitQueue, Routing,
};

/// How often a message is delivered before it becomes a dead letter: a consumer that dies of it takes few others
/// along.
pub const MAX_DELIVERIES: u32 = 5;

/// Messages that may wait in one queue. At 60 signatures a second this is more than any deadline.
pub const MAX_QUEUE_LENGTH: usize = 1_000;

/// Dead letters that are kept of one queue; older ones go first.
pub const MAX_DEAD_LETTERS: usize = 1_000;

/// Announcements that wait for one listener; older ones are dropped first. With two heartbeats a second from each of
/// 16 parties this is half a minute.
pub const MAX_WAITING_ANNOUNCEMENTS: usize = 1_024;

/// The bytes of announcements that wait for one listener; older ones are dropped first.
pub const MAX_WAITING_BYTES: usize = 32 << 20;

/// Why the queue did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// As many messages wait as may. The caller is told to come back later.
    #[error("the queue is full")]
    Full,
    /// The broker refuses: the queue is not there, or this process may not use it. The log says what to do.
    #[error("the queue is not there, or this process has no right to it")]
    Refused,
    /// The queue can't be reached.
    #[error("the queue does not answer")]
    Unavailable,
}

/// Passes messages on.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Puts a message at the end. When this returns, the message survives whatever the adapter says it survives.
    ///
    /// # Errors
    /// See [`QueueError`]; the message is then not in the queue.
    async fn publish(&self, queue: &str, payload: Vec<u8>, time_to_live: Duration) -> Result<(), QueueError>;

    /// Whether a message would find room now. What is said may be a moment old.
    ///
    /// # Errors
    /// See [`QueueError`].
    async fn has_room(&self, queue: &str) -> Result<bool, QueueError>;

    /// Begins to consume, with at most `prefetch` messages unacknowledged at a time.
    ///
    /// # Errors
    /// See [`QueueError`].
    async fn consume(&self, queue: &str, prefetch: usize) -> Result<Box<dyn Consumer>, QueueError>;

    /// Tells everybody who listens to a topic.
    ///
    /// # Errors
    /// See [`QueueError`].
    async fn announce(&self, topic: &str, payload: Vec<u8>) -> Result<(), QueueError>;

    /// Listens to a topic from now on.
    ///
    /// # Errors
    /// See [`QueueError`].
    async fn listen(&self, topic: &str) -> Result<Box<dyn TopicListener>, QueueError>;

    /// The payloads of dead letters, oldest first.
    ///
    /// # Errors
    /// See [`QueueError`].
    async fn dead_letters(&self, queue: &str) -> Result<Vec<Vec<u8>>, QueueError>;

    /// Whether the queue can be reached.
    ///
    /// # Errors
    /// See [`QueueError`].
    async fn ping(&self) -> Result<(), QueueError>;
}

/// Takes messages from one queue. Messages that it has not acknowledged when it is dropped are delivered again.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for the next message. May be cancelled without losing one.
    ///
    /// # Errors
    /// When the queue is gone.
    async fn next(&mut self) -> Result<Delivery, QueueError>;
}

/// Hears the announcements of one topic.
#[async_trait]
pub trait TopicListener: Send {
    /// Waits for the next announcement. May be cancelled without losing one.
    ///
    /// # Errors
    /// When the queue is gone.
    async fn next(&mut self) -> Result<Vec<u8>, QueueError>;
}

/// A delivered message. Dropped without a word, it is delivered again.
pub struct Delivery {
    payload: Vec<u8>,
    attempt: u32,
    settle: Option<Box<dyn Settle>>,
}

/// How an adapter learns what became of a delivery.
#[async_trait]
trait Settle: Send {
    async fn ack(self: Box<Self>) -> Result<(), QueueError>;
    fn give_back(self: Box<Self>);
}

impl Delivery {
    fn new(payload: Vec<u8>, attempt: u32, settle: Box<dyn Settle>) -> Self {
        Self { payload, attempt, settle: Some(settle) }
    }

    /// The message.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Which delivery of this message it is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Acknowledges the message: the queue forgets it.
    ///
    /// # Errors
    /// When the queue is gone; the message may then be delivered again.
    pub async fn ack(mut self) -> Result<(), QueueError> {
        match self.settle.take() {
            Some(settle) => settle.ack().await,
            None => Ok(()),
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take() {
            settle.give_back();
        }
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Delivery({} bytes, attempt {})", self.payload.len(), self.attempt)
    }
}
