//! The connection of a process, made again when it breaks.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::ExchangeDeclareOptions;
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::timeout;

use super::layout::{dead_name, listener_prefix, queue_name, topic_exchange};
use super::publishers::Publishers;
use crate::queue::QueueError;

/// How long a new connection may take.
const RABBITMQ_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often both sides say that they are there, in seconds: a broker that is gone without a word is noticed after two
/// of these.
const HEARTBEAT_SECONDS: u16 = 5;

/// Where a broker is, and how to log in. `Debug` does not show the password.
#[derive(Clone)]
pub struct RabbitAddress(AMQPUri);

/// An address that can't be read. It is not repeated: it may contain a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address of the form amqp://user@host:5672/vhost is wanted")]
pub struct RabbitAddressError;

impl RabbitAddress {
    /// Reads `amqp[s]://user[:password]@host[:port][/vhost]`.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn new(url: &str) -> Result<Self, RabbitAddressError> {
        let mut uri: AMQPUri = url.parse().map_err(|_| RabbitAddressError)?;
        uri.query.heartbeat = Some(HEARTBEAT_SECONDS);
        Ok(Self(uri))
    }

    pub(super) fn uri(&self) -> AMQPUri {
        self.0.clone()
    }

    /// The user.
    fn user(&self) -> &str {
        &self.0.authority.userinfo.username
    }

    /// With this password.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        password.clone_into(&mut self.0.authority.userinfo.password);
        self
    }
}

/// Host, port and virtual host: what a log may say.
impl std::fmt::Display for RabbitAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}{}", self.0.authority.host, self.0.authority.port, self.0.vhost)
    }
}

impl std::fmt::Debug for RabbitAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RabbitAddress({self})")
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_never_shows_its_password() {
        let address = RabbitAddress::new("amqp://user:secret@mq.example:5673/%2f").unwrap();
        assert_eq!(address.to_string(), "mq.example:5673/");
        assert!(!format!("{address:?}").contains("secret"));
        for bad in ["", "http://host", "mq.example:5672"] {
            assert_eq!(RabbitAddress::new(bad).err(), Some(RabbitAddressError), "{bad}");
        }
    }
}
