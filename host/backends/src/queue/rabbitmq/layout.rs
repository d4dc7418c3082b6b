//! What a deployment has at its broker: queues, topics, and the exchanges between. An administrator makes it, once; roles only
//! use it, so that none may change what another relies on.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use tokio::time::timeout;

use super::address::RabbitAddress;
use super::names::{dead_name, queue_name, queues_exchange, topic_exchange};
use crate::queue::{MAX_DEAD_LETTERS, MAX_DELIVERIES, MAX_QUEUE_LENGTH};

/// How long it may take to make everything.
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long dead letters are kept: a week, for the operator who looks for the cause.
const DEAD_LETTER_RETENTION_MILLIS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// How an exchange passes messages on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// To all queues that are bound to it.
    Fanout,
    /// To the queues that are bound to it under the message's key.
    Direct,
}

/// An exchange. All are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeLayout {
    /// Its name.
    pub name: String,
    /// How it passes messages on.
    pub routing: Routing,
}

/// An argument of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueArgument {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

/// A queue. All are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueLayout {
    /// Its name.
    pub name: String,
    /// Its arguments, by name.
    pub arguments: Vec<(&'static str, QueueArgument)>,
    /// The exchange that it is bound to.
    pub exchange: String,
    /// The key that it is bound under.
    pub key: String,
}

/// All that a deployment has at its broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerLayout {
    /// The exchanges.
    pub exchanges: Vec<ExchangeLayout>,
    /// The queues.
    pub queues: Vec<QueueLayout>,
}

impl BrokerLayout {
    /// The layout of these queues and topics. Each queue has another one for its dead letters.
    #[must_use]
    pub fn new(namespace: &str, queues: &[String], topics: &[String]) -> Self {
        let fanout = |name: String| ExchangeLayout { name, routing: Routing::Fanout };
        let mut layout = Self {
            exchanges: vec![ExchangeLayout { name: queues_exchange(namespace), routing: Routing::Direct }],
            queues: vec![],
        };
        layout.exchanges.extend(topics.iter().map(|topic| fanout(topic_exchange(namespace, topic))));
        for queue in queues {
            let dead = dead_name(namespace, queue);
            layout.exchanges.push(fanout(dead.clone()));
            layout.queues.push(QueueLayout {
                name: dead.clone(),
                arguments: vec![
                    ("x-max-length", number(MAX_DEAD_LETTERS)),
                    ("x-message-ttl", QueueArgument::Number(DEAD_LETTER_RETENTION_MILLIS)),
                ],
                exchange: dead.clone(),
                key: String::new(),
            });
            layout.queues.push(QueueLayout {
                name: queue_name(namespace, queue),
                arguments: vec![
                    ("x-queue-type", QueueArgument::Text("quorum".into())),
                    ("x-max-length", number(MAX_QUEUE_LENGTH)),
                    ("x-overflow", QueueArgument::Text("reject-publish".into())),
                    // The first delivery does not count.
                    ("x-delivery-limit", QueueArgument::Number(i64::from(MAX_DELIVERIES) - 1)),
                    ("x-dead-letter-exchange", QueueArgument::Text(dead)),
                ],
                exchange: queues_exchange(namespace),
                key: queue.clone(),
            });
        }
        layout
    }

    /// Makes what is not there yet. Takes the address of a user who may configure it: an administrator.
    ///
    /// # Errors
    /// What the broker says: it can't be reached, lacks a right, or has a queue of the same name with other arguments.
    pub async fn create(&self, address: &RabbitAddress) -> Result<(), LayoutError> {
        let creating = async {
            let properties = ConnectionProperties::default().with_connection_name("quorate migrate".into());
            let connection = Connection::connect_uri(address.uri(), properties).await?;
            let channel = connection.create_channel().await?;
            self.declare(&channel).await?;
            connection.close(200, "".into()).await
        };
        match timeout(CREATE_TIMEOUT, creating).await {
            Ok(created) => created.map_err(|error| LayoutError::Refused(error.to_string())),
            Err(_) => Err(LayoutError::Silent),
        }
    }

    async fn declare(&self, channel: &Channel) -> Result<(), lapin::Error> {
        for exchange in &self.exchanges {
            let kind = match exchange.routing {
                Routing::Fanout => ExchangeKind::Fanout,
                Routing::Direct => ExchangeKind::Direct,
            };
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let name = exchange.name.clone().into();
            channel.exchange_declare(name, kind, options, FieldTable::default()).await?;
        }
        for queue in &self.queues {
            let mut arguments = FieldTable::default();
            for (name, value) in &queue.arguments {
                arguments.insert((*name).into(), value.to_amqp());
            }
            let name: lapin::types::ShortString = queue.name.clone().into();
            channel.queue_declare(name.clone(), QueueDeclareOptions::durable(), arguments).await?;
            let (exchange, key) = (queue.exchange.clone().into(), queue.key.clone().into());
            let options = QueueBindOptions::default();
            channel.queue_bind(name, exchange, key, options, FieldTable::default()).await?;
        }
        Ok(())
    }
}

/// Why queues could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The broker refused.
    #[error(
        "RabbitMQ: {0}; give the address of a user who may configure, write and read everything of the namespace"
    )]
    Refused(String),
    /// It did not answer.
    #[error("RabbitMQ does not answer")]
    Silent,
}

impl QueueArgument {
    fn to_amqp(&self) -> AMQPValue {
        match self {
            Self::Text(text) => AMQPValue::LongString(text.as_str().into()),
            Self::Number(number) => AMQPValue::LongLongInt(*number),
        }
    }
}

fn number(number: usize) -> QueueArgument {
    QueueArgument::Number(i64::try_from(number).unwrap_or(i64::MAX))
}
