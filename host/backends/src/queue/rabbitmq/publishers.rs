//! Publishing to queues, each over a channel of its own: what the broker says of one queue ends no other's channel.

use std::collections::HashMap;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use parking_lot::Mutex;

use super::names::{queue_name, queues_exchange};

/// The channels of one connection, by queue. Each has confirms.
#[derive(Default)]
pub(super) struct Publishers(Mutex<HashMap<String, Channel>>);

impl Publishers {
    /// Publishes a message to a queue, and waits for the broker's word.
    pub(super) async fn publish(
        &self,
        connection: &Connection,
        namespace: &str,
        queue: &str,
        payload: &[u8],
        properties: BasicProperties,
    ) -> Result<Confirmation, lapin::Error> {
        let channel = self.channel(connection, queue).await?;
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, key) = (queues_exchange(namespace).into(), queue.into());
        let publishing = channel.basic_publish(exchange, key, options, payload, properties);
        match publishing.await {
            Ok(confirm) => self.forget_on_error(queue, confirm.await),
            Err(error) => self.forget_on_error(queue, Err(error)),
        }
    }

    /// How many messages wait in a queue. It is only looked at.
    pub(super) async fn waiting(
        &self,
        connection: &Connection,
        namespace: &str,
        queue: &str,
    ) -> Result<u32, lapin::Error> {
        let channel = self.channel(connection, queue).await?;
        let look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
        let looked = channel.queue_declare(queue_name(namespace, queue).into(), look, FieldTable::default());
        Ok(self.forget_on_error(queue, looked.await)?.message_count())
    }

    async fn channel(&self, connection: &Connection, queue: &str) -> Result<Channel, lapin::Error> {
        let open = self.0.lock().get(queue).filter(|channel| channel.status().connected()).cloned();
        if let Some(channel) = open {
            return Ok(channel);
        }
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        self.0.lock().insert(queue.to_owned(), channel.clone());
        Ok(channel)
    }

    fn forget_on_error<T>(&self, queue: &str, result: Result<T, lapin::Error>) -> Result<T, lapin::Error> {
        if result.is_err() {
            self.0.lock().remove(queue);
        }
        result
    }
}
