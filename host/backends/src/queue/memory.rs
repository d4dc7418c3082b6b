//! The queue of a single process. Messages survive their consumers, not the process: what is claimed is in the store.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::Instant;

use super::{
    Consumer, Delivery, MAX_DEAD_LETTERS, MAX_DELIVERIES, MAX_QUEUE_LENGTH, MAX_WAITING_ANNOUNCEMENTS, Queue,
    QueueError, Settle, TopicListener,
};

/// Queues in memory. Clones share them.
#[derive(Clone, Default)]
pub struct MemoryQueue {
    queues: Arc<Mutex<HashMap<String, Arc<One>>>>,
    topics: Arc<Mutex<HashMap<String, broadcast::Sender<Vec<u8>>>>>,
}

#[derive(Default)]
struct One {
    messages: Mutex<Messages>,
    arrived: Notify,
}

#[derive(Default)]
struct Messages {
    waiting: VecDeque<QueuedMessage>,
    unacknowledged: usize,
    dead: VecDeque<Vec<u8>>,
}

struct QueuedMessage {
    payload: Vec<u8>,
    deliveries: u32,
    expires: Instant,
}

impl MemoryQueue {
    fn one(&self, queue: &str) -> Arc<One> {
        let mut queues = self.queues.lock();
        Arc::clone(queues.entry(queue.to_owned()).or_default())
    }

    fn topic(&self, topic: &str) -> broadcast::Sender<Vec<u8>> {
        let mut topics = self.topics.lock();
        topics
            .entry(topic.to_owned())
            .or_insert_with(|| broadcast::channel(MAX_WAITING_ANNOUNCEMENTS).0)
            .clone()
    }
}

impl One {
    fn lock(&self) -> MutexGuard<'_, Messages> {
        self.messages.lock()
    }
}

impl Messages {
    /// Messages in work count too: a consumer that dies returns them.
    fn has_room(&self) -> bool {
        self.waiting.len() + self.unacknowledged < MAX_QUEUE_LENGTH
    }

    fn bury(&mut self, payload: Vec<u8>) {
        if self.dead.len() == MAX_DEAD_LETTERS {
            self.dead.pop_front();
        }
        self.dead.push_back(payload);
    }

    /// Buries what has expired, wherever it waits.
    fn expire(&mut self, now: Instant) {
        while let Some(position) = self.waiting.iter().position(|m| m.expires <= now) {
            if let Some(message) = self.waiting.remove(position) {
                self.bury(message.payload);
            }
        }
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn publish(&self, queue: &str, payload: Vec<u8>, time_to_live: Duration) -> Result<(), QueueError> {
        let one = self.one(queue);
        {
            let mut messages = one.lock();
            let now = Instant::now();
            messages.expire(now);
            if !messages.has_room() {
                return Err(QueueError::Full);
            }
            messages.waiting.push_back(QueuedMessage { payload, deliveries: 0, expires: now + time_to_live });
        }
        one.arrived.notify_one();
        Ok(())
    }

    async fn has_room(&self, queue: &str) -> Result<bool, QueueError> {
        let one = self.one(queue);
        let mut messages = one.lock();
        messages.expire(Instant::now());
        Ok(messages.has_room())
    }

    async fn ping(&self) -> Result<(), QueueError> {
        Ok(())
    }

    async fn consume(&self, queue: &str, prefetch: usize) -> Result<Box<dyn Consumer>, QueueError> {
        let slots = Arc::new(Semaphore::new(prefetch.max(1)));
        Ok(Box::new(MemoryConsumer { one: self.one(queue), slots }))
    }

    async fn announce(&self, topic: &str, payload: Vec<u8>) -> Result<(), QueueError> {
        // There may be no listener.
        let _ = self.topic(topic).send(payload);
        Ok(())
    }

    async fn listen(&self, topic: &str) -> Result<Box<dyn TopicListener>, QueueError> {
        Ok(Box::new(self.topic(topic).subscribe()))
    }

    async fn dead_letters(&self, queue: &str) -> Result<Vec<Vec<u8>>, QueueError> {
        let one = self.one(queue);
        let mut messages = one.lock();
        messages.expire(Instant::now());
        Ok(messages.dead.iter().cloned().collect())
    }
}

#[async_trait]
impl TopicListener for broadcast::Receiver<Vec<u8>> {
    async fn next(&mut self) -> Result<Vec<u8>, QueueError> {
        loop {
            match self.recv().await {
                Ok(payload) => return Ok(payload),
                // It fell behind: the oldest are gone.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Err(QueueError::Unavailable),
            }
        }
    }
}

struct MemoryConsumer {
    one: Arc<One>,
    slots: Arc<Semaphore>,
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn next(&mut self) -> Result<Delivery, QueueError> {
        // The semaphore is never closed.
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| QueueError::Unavailable)?;
        loop {
            let arrived = self.one.arrived.notified();
            if let Some(mut message) = self.take() {
                message.deliveries += 1;
                let (payload, attempt) = (message.payload.clone(), message.deliveries);
                let held = HeldMessage { one: Arc::clone(&self.one), message, _slot: slot };
                return Ok(Delivery::new(payload, attempt, Box::new(held)));
            }
            arrived.await;
        }
    }
}

impl MemoryConsumer {
    fn take(&self) -> Option<QueuedMessage> {
        let mut messages = self.one.lock();
        messages.expire(Instant::now());
        let message = messages.waiting.pop_front()?;
        messages.unacknowledged += 1;
        if !messages.waiting.is_empty() {
            // One notification can stand for several messages: pass it on.
            self.one.arrived.notify_one();
        }
        Some(message)
    }
}

/// A message that was delivered and not acknowledged.
struct HeldMessage {
    one: Arc<One>,
    message: QueuedMessage,
    _slot: OwnedSemaphorePermit,
}

#[async_trait]
impl Settle for HeldMessage {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        self.one.lock().unacknowledged -= 1;
        Ok(())
    }

    fn give_back(self: Box<Self>) {
        let Self { one, message, .. } = *self;
        {
            let mut messages = one.lock();
            messages.unacknowledged -= 1;
            if message.deliveries >= MAX_DELIVERIES {
                messages.bury(message.payload);
            } else {
                messages.waiting.push_front(message);
            }
        }
        one.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    super::super::conformance::suite!(async { MemoryQueue::default() });
}
