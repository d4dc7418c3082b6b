//! The connection of a process, made again when it breaks.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, ExchangeKind};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::timeout;

use crate::queue::{MAX_DEAD_LETTERS, MAX_DELIVERIES, MAX_QUEUE_LENGTH, QueueError};

/// How long a new connection may take.
const RABBITMQ_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often both sides say that they are there, in seconds: a broker that is gone without a word is noticed after two
/// of these.
const HEARTBEAT_SECONDS: u16 = 5;

/// How long dead letters are kept: a week, for the operator who looks for the cause.
const DEAD_LETTER_RETENTION_MILLIS: i64 = 7 * 24 * 60 * 60 * 1_000;

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
    /// With confirms.
    pub(super) publisher: Channel,
    /// Without.
    pub(super) announcer: Channel,
    namespace: String,
    /// Queues and topics that are known to be there.
    declared: Mutex<HashSet<String>>,
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
        let connection = Connection::connect_uri(self.address.0.clone(), properties).await?;
        let publisher = connection.create_channel().await?;
        publisher.confirm_select(ConfirmSelectOptions::default()).await?;
        let announcer = connection.create_channel().await?;
        let (namespace, declared) = (self.namespace.clone(), Mutex::default());
        Ok(Connected { connection, publisher, announcer, namespace, declared })
    }
}

impl Connected {
    fn is_alive(&self) -> bool {
        self.connection.status().connected()
            && self.publisher.status().connected()
            && self.announcer.status().connected()
    }

    pub(super) fn queue_name(&self, queue: &str) -> String {
        format!("{}.{queue}", self.namespace)
    }

    pub(super) fn dead_name(&self, queue: &str) -> String {
        format!("{}.{queue}.dead", self.namespace)
    }

    fn declared(&self) -> MutexGuard<'_, HashSet<String>> {
        self.declared.lock()
    }

    /// Forgets that a queue is declared.
    pub(super) fn forget(&self, queue: &str) {
        self.declared().remove(queue);
    }

    /// Makes sure that a queue is there.
    pub(super) async fn declare(&self, queue: &str) -> Result<(), lapin::Error> {
        if !self.declared().contains(queue) {
            self.declare_anew(queue).await?;
        }
        Ok(())
    }

    /// Declares a queue, and says how many messages wait in it.
    pub(super) async fn declare_anew(&self, queue: &str) -> Result<u32, lapin::Error> {
        let dead_name = self.dead_name(queue);
        if !self.declared().contains(queue) {
            // Not the default exchange: a user that may write to it reaches every queue.
            let (options, arguments) = (durable(), FieldTable::default());
            let exchange = dead_name.clone().into();
            self.publisher.exchange_declare(exchange, ExchangeKind::Fanout, options, arguments).await?;
            let mut dead = FieldTable::default();
            dead.insert("x-max-length".into(), number(MAX_DEAD_LETTERS));
            dead.insert("x-message-ttl".into(), AMQPValue::LongLongInt(DEAD_LETTER_RETENTION_MILLIS));
            let (name, exchange) = (dead_name.clone(), dead_name.clone().into());
            self.publisher.queue_declare(name.clone().into(), QueueDeclareOptions::durable(), dead).await?;
            let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
            self.publisher.queue_bind(name.into(), exchange, "".into(), options, arguments).await?;
        }
        let mut arguments = FieldTable::default();
        let text = |text: &str| AMQPValue::LongString(text.into());
        arguments.insert("x-queue-type".into(), text("quorum"));
        arguments.insert("x-max-length".into(), number(MAX_QUEUE_LENGTH));
        arguments.insert("x-overflow".into(), text("reject-publish"));
        // The first delivery does not count.
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(i64::from(MAX_DELIVERIES) - 1));
        arguments.insert("x-dead-letter-exchange".into(), text(&dead_name));
        let name = self.queue_name(queue).into();
        let there = self.publisher.queue_declare(name, QueueDeclareOptions::durable(), arguments).await?;
        self.declared().insert(queue.to_owned());
        Ok(there.message_count())
    }

    /// Makes sure that a topic is there; gives the name of its exchange. One that is there is only looked at: that
    /// takes no right to make or delete it, which a broker need not give to every process.
    pub(super) async fn declare_topic(&self, topic: &str) -> Result<String, lapin::Error> {
        let exchange = format!("{}.topic.{topic}", self.namespace);
        if self.declared().contains(&exchange) {
            return Ok(exchange);
        }
        let look = ExchangeDeclareOptions { passive: true, ..durable() };
        // A channel of its own: the broker closes it when nothing is there.
        let looking = self.connection.create_channel().await?;
        let (name, kind, arguments) = (exchange.clone().into(), ExchangeKind::Fanout, FieldTable::default());
        match looking.exchange_declare(name, kind, look, arguments).await {
            Ok(()) => looking.close(200, "".into()).await?,
            Err(error) if is_not_found(&error) => {
                let (name, arguments) = (exchange.clone().into(), FieldTable::default());
                self.announcer.exchange_declare(name, ExchangeKind::Fanout, durable(), arguments).await?;
            }
            Err(error) => return Err(error),
        }
        self.declared().insert(exchange.clone());
        Ok(exchange)
    }
}

fn durable() -> ExchangeDeclareOptions {
    ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() }
}

fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}

pub(super) fn number(number: usize) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX))
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
