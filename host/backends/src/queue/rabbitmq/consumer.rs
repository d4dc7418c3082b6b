//! Consuming from a queue, each consumer over a channel of its own.

use async_trait::async_trait;
use futures::StreamExt;
use lapin::Channel;
use lapin::message::Delivery as Message;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};

use super::connection::Connected;
use crate::queue::{Consumer, Delivery, QueueError, Settle};

/// How often a message was delivered before; not there at its first delivery.
const DELIVERY_COUNT_HEADER: &str = "x-delivery-count";

pub(super) struct RabbitConsumer {
    channel: Channel,
    consumer: lapin::Consumer,
}

impl RabbitConsumer {
    pub(super) async fn begin(
        connected: &Connected,
        queue: &str,
        prefetch: usize,
    ) -> Result<Self, lapin::Error> {
        let channel = connected.connection.create_channel().await?;
        let prefetch = u16::try_from(prefetch.max(1)).unwrap_or(u16::MAX);
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let (name, options) = (connected.queue_name(queue).into(), BasicConsumeOptions::default());
        let consumer = channel.basic_consume(name, "".into(), options, FieldTable::default()).await?;
        Ok(Self { channel, consumer })
    }
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn next(&mut self) -> Result<Delivery, QueueError> {
        match self.consumer.next().await {
            Some(Ok(mut message)) => {
                let headers = message.properties.headers().as_ref();
                let before = match headers.and_then(|headers| headers.inner().get(DELIVERY_COUNT_HEADER)) {
                    Some(AMQPValue::LongLongInt(count)) => u32::try_from(*count).unwrap_or(u32::MAX),
                    Some(AMQPValue::LongInt(count)) => u32::try_from(*count).unwrap_or(u32::MAX),
                    _ => 0,
                };
                let payload = std::mem::take(&mut message.data);
                Ok(Delivery::new(payload, before.saturating_add(1), Box::new(UnsettledMessage(message))))
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "RabbitMQ stopped delivering");
                Err(QueueError::Unavailable)
            }
            None => Err(QueueError::Unavailable),
        }
    }
}

impl Drop for RabbitConsumer {
    fn drop(&mut self) {
        close(self.channel.clone());
    }
}

/// Closes a channel in the background: what it has not acknowledged goes back to its queue.
pub(super) fn close(channel: Channel) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move {
            let _ = channel.close(200, "".into()).await;
        });
    }
}

/// A message that was delivered and not acknowledged.
struct UnsettledMessage(Message);

#[async_trait]
impl Settle for UnsettledMessage {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        match self.0.ack(BasicAckOptions::default()).await {
            Ok(true) => Ok(()),
            _ => Err(QueueError::Unavailable),
        }
    }

    fn give_back(self: Box<Self>) {
        // Without a runtime the process is ending, and the broker takes back what it had.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = self.0.nack(BasicNackOptions { requeue: true, multiple: false }).await;
            });
        }
    }
}
