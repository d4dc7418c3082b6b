//! Listening to a topic: a queue of its own that is gone with its connection.

use async_trait::async_trait;
use futures::StreamExt;
use lapin::Channel;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};

use super::connection::Connected;
use super::consumer::close;
use crate::queue::{MAX_WAITING_ANNOUNCEMENTS, MAX_WAITING_BYTES, QueueError, TopicListener};

/// Announcements that are on their way to us at a time; the rest waits at the broker, which drops the oldest.
const MAX_UNACKED_ANNOUNCEMENTS: u16 = 16;

pub(super) struct RabbitListener {
    channel: Channel,
    consumer: lapin::Consumer,
}

impl RabbitListener {
    pub(super) async fn begin(connected: &Connected, topic: &str) -> Result<Self, lapin::Error> {
        let exchange = connected.topic(topic).await?;
        let name = connected.new_listener_name().map_err(std::io::Error::other)?;
        let channel = connected.connection.create_channel().await?;
        let mut arguments = FieldTable::default();
        let number = |number| AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX));
        let waiting = MAX_WAITING_ANNOUNCEMENTS - usize::from(MAX_UNACKED_ANNOUNCEMENTS);
        arguments.insert("x-max-length".into(), number(waiting));
        arguments.insert("x-max-length-bytes".into(), number(MAX_WAITING_BYTES));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("drop-head".into()));
        let options = QueueDeclareOptions::exclusive();
        let queue = channel.queue_declare(name.into(), options, arguments).await?;
        let name = queue.name().clone();
        let binding = QueueBindOptions::default();
        channel.queue_bind(name.clone(), exchange.into(), "".into(), binding, FieldTable::default()).await?;
        channel.basic_qos(MAX_UNACKED_ANNOUNCEMENTS, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume(name, "".into(), options, FieldTable::default()).await?;
        Ok(Self { channel, consumer })
    }
}

#[async_trait]
impl TopicListener for RabbitListener {
    async fn next(&mut self) -> Result<Vec<u8>, QueueError> {
        let Some(Ok(message)) = self.consumer.next().await else { return Err(QueueError::Unavailable) };
        // Only a frame to be written: it does not wait for an answer.
        message.ack(BasicAckOptions::default()).await.map_err(|_| QueueError::Unavailable)?;
        Ok(message.data)
    }
}

impl Drop for RabbitListener {
    fn drop(&mut self) {
        close(self.channel.clone());
    }
}
