//! Where a broker is, and as whom a process logs in.

use lapin::uri::{AMQPScheme, AMQPUri};

use crate::target::ServiceTarget;

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

    /// The broker, as this process reaches it.
    #[must_use]
    pub fn target(&self) -> ServiceTarget<'_> {
        let AMQPUri { scheme, authority, .. } = &self.0;
        let has_verified_tls = matches!(scheme, AMQPScheme::AMQPS);
        ServiceTarget { host: &authority.host, port: authority.port, has_verified_tls }
    }

    pub(super) fn uri(&self) -> AMQPUri {
        self.0.clone()
    }

    /// The user.
    pub(super) fn user(&self) -> &str {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_never_shows_its_password() {
        let address = RabbitAddress::new("amqp://user:secret@mq.example:5673/%2f").unwrap();
        assert_eq!(address.to_string(), "mq.example:5673/");
        assert!(!format!("{address:?}").contains("secret"));
        assert!(!address.target().has_verified_tls);
        assert!(RabbitAddress::new("amqps://mq.example").unwrap().target().has_verified_tls);
        for bad in ["", "http://host", "mq.example:5672"] {
            assert_eq!(RabbitAddress::new(bad).err(), Some(RabbitAddressError), "{bad}");
        }
    }
}
