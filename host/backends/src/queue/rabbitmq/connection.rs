//! The connection of a process, made again when it breaks.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::ExchangeDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::timeout;

use super::address::RabbitAddress;
use super::names::{dead_name, listener_prefix, queue_name, topic_exchange};
use super::publishers::Publishers;
use crate::queue::QueueError;

/// How long a new connection may take.
const RABBITMQ_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The current connection, if there is one.
pub(super) struct Connections {
    address: RabbitAddress,
    namespace: String,
    current: Mutex<Option<Arc<Connected>>>,
    /// One connects, the others wait for it.
    connecting: tokio::sync::Mutex<()>,
}

/// A connection with the channels that all share.
pub(super) struct Connected {
    pub(super) connection: Connection,
    /// Channels with confirms.
    pub(super) publishers: Publishers,
    /// Without confirms.
    pub(super) announcer: Channel,
    pub(super) namespace: String,
    /// What the names of our own queues begin with.
    listener_prefix: String,
    /// Topics that are known to be there.
    topics: Mutex<HashSet<String>>,
}

impl Connections {
    pub(super) fn new(address: RabbitAddress, namespace: String) -> Self {
        Self { address, namespace, current: Mutex::default(), connecting: tokio::sync::Mutex::default() }
    }

    /// The current connection, or a new one.
    pub(super) async fn current(&self) -> Result<Arc<Connected>, QueueError> {
        if let Some(connected) = self.alive() {
            return Ok(connected);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(connected) = self.alive() {
            return Ok(connected);
        }
        let connected = match timeout(RABBITMQ_CONNECT_TIMEOUT, self.connect()).await {
            Ok(Ok(connected)) => Arc::new(connected),
            Ok(Err(error)) => {
                tracing::warn!(address = %self.address, %error, "RabbitMQ can't be reached");
                return Err(QueueError::Unavailable);
            }
            Err(_) => {
                tracing::warn!(address = %self.address, "RabbitMQ does not answer");
                return Err(QueueError::Unavailable);
            }
        };
        *self.lock() = Some(Arc::clone(&connected));
        Ok(connected)
    }

    /// Gives a connection up: the next call makes another.
    pub(super) fn discard(&self, connected: &Arc<Connected>) {
        let mut current = self.lock();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, connected)) {
            *current = None;
        }
    }

    fn alive(&self) -> Option<Arc<Connected>> {
        let current = self.lock();
        current.as_ref().filter(|connected| connected.is_alive()).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Connected>>> {
        self.current.lock()
    }

    async fn connect(&self) -> Result<Connected, lapin::Error> {
        let properties = ConnectionProperties::default().with_connection_name("quorate".into());
        let connection = Connection::connect_uri(self.address.uri(), properties).await?;
        let announcer = connection.create_channel().await?;
        Ok(Connected {
            connection,
            publishers: Publishers::default(),
            announcer,
            namespace: self.namespace.clone(),
            listener_prefix: listener_prefix(&self.namespace, self.address.user()),
            topics: Mutex::default(),
        })
    }
}

impl Connected {
    fn is_alive(&self) -> bool {
        self.connection.status().connected() && self.announcer.status().connected()
    }

    pub(super) fn queue_name(&self, queue: &str) -> String {
        queue_name(&self.namespace, queue)
    }

    pub(super) fn dead_name(&self, queue: &str) -> String {
        dead_name(&self.namespace, queue)
    }

    /// A name for a queue of our own, which no other process has.
    pub(super) fn new_listener_name(&self) -> Result<String, getrandom::Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        Ok(format!("{}{:032x}", self.listener_prefix, u128::from_be_bytes(random)))
    }

    /// The name of a topic's exchange, which is looked for the first time. It takes no right to look.
    pub(super) async fn topic(&self, topic: &str) -> Result<String, lapin::Error> {
        let exchange = topic_exchange(&self.namespace, topic);
        if self.topics.lock().contains(&exchange) {
            return Ok(exchange);
        }
        let look =
            ExchangeDeclareOptions { durable: true, passive: true, ..ExchangeDeclareOptions::default() };
        // A channel of its own: the broker closes it when nothing is there.
        let looking = self.connection.create_channel().await?;
        let (name, kind) = (exchange.clone().into(), ExchangeKind::Fanout);
        looking.exchange_declare(name, kind, look, FieldTable::default()).await?;
        looking.close(200, "".into()).await?;
        self.topics.lock().insert(exchange.clone());
        Ok(exchange)
    }
}
