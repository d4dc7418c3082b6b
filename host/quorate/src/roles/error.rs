//! Why roles do not start.

use std::net::SocketAddr;
use std::path::PathBuf;

use quorate_backends::database::StoreError;
use quorate_backends::queue::{LayoutError, QueueError};
use quorate_core::ThresholdError;
use quorate_net::private_networks::NotPrivate;
use quorate_net::tls::TlsError;
use quorate_party::admin::SocketError;
use quorate_runtime::LoadError;

use crate::config::{ConfigError, PluginNotAllowed};

/// Why a process does not start: the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something is not configured.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address is not free, or not ours.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The database can't be used.
    #[error("PostgreSQL at {address} can't be used")]
    Postgres {
        /// Which.
        address: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The queue can't be used.
    #[error("RabbitMQ at {address} can't be used")]
    RabbitMq {
        /// Which.
        address: String,
        /// Why.
        #[source]
        source: QueueError,
    },
    /// A service would be reached over a network that nobody has declared to be private.
    #[error("{service} can't be used")]
    NotPrivate {
        /// Which.
        service: &'static str,
        /// Why.
        #[source]
        source: NotPrivate,
    },
    /// The queues can't be made.
    #[error(transparent)]
    Layout(LayoutError),
    /// The name of a service leads nowhere.
    #[error("{service} can't be used: its name does not resolve")]
    Unresolved {
        /// Which.
        service: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// TLS can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Own files or the sandbox can't be used.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The operator's socket can't be used.
    #[error(transparent)]
    Admin(#[from] SocketError),
    /// A plugin can't be used.
    #[error("{path}: this plugin can't be used")]
    Plugin {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A plugin is not among those that the operator allows.
    #[error(transparent)]
    PluginNotAllowed(#[from] PluginNotAllowed),
    /// The party's own key is not among those that all parties pin.
    #[error(
        "QUORATE_IDENTITY_KEY: its public key {0} is not in QUORATE_PARTY_KEYS: no peer would work with this party"
    )]
    NotPinned(String),
    /// The key is not the one that all parties pin as the users' party's.
    #[error(
        "QUORATE_IDENTITY_KEY: its public key {0} is not QUORATE_USER_PARTY_KEY: no peer would work with this party"
    )]
    NotUserParty(String),
    /// Two roles of one process would be one party twice.
    #[error("a process has one identity: run `party` and `party-api` as two processes")]
    TwoParties,
    /// The machine has no randomness.
    #[error("the machine has no randomness")]
    NoRandomness,
}

/// Why a process can't listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "can't listen on {address}: another process may be using the port, or the address is not of this machine"
)]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// The error of the system.
    #[source]
    pub source: std::io::Error,
}

/// Why a process can't use its own files or its sandbox: the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A file or folder can't be used.
    #[error("{path}: can't be used: look at its owner and its mode")]
    File {
        /// The path.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// Another process uses the data folder.
    #[error("{0}: another process uses this folder: stop it, or name another folder (QUORATE_DATA)")]
    FolderInUse(PathBuf),
    /// A key file does not contain a key.
    #[error("{0}: this is not a key of 64 hex characters; restore it from your backup")]
    Key(PathBuf),
    /// A key file is gone, and what it has sealed or signed is still there.
    #[error("{0}: the key is missing, but its database is there: restore the file from your backup")]
    Missing(PathBuf),
    /// A deployment of no party has no key to authenticate compiled code with.
    #[error("there is no party: give 2 or more")]
    NoParties,
    /// The sandbox does not start.
    #[error("the sandbox does not start: give the process more memory and address space")]
    Runtime(#[source] std::io::Error),
}

/// Why all roles in one process do not start: the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedStartError {
    /// A plugin is not among those that the operator allows.
    #[error(transparent)]
    PluginNotAllowed(#[from] PluginNotAllowed),
    /// The address is not free, or not ours.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Own files or the sandbox can't be used.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// A database can't be used.
    #[error("{path}: can't be used")]
    Store {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// A number of parties that is not possible.
    #[error("the number of parties is not possible: give 2 to 16")]
    Parties(#[from] ThresholdError),
    /// The file of a component can't be read.
    #[error(
        "{path}: can't be read: correct QUORATE_PLUGIN_FILES, or build the components with `make plugins`"
    )]
    MissingPlugin {
        /// The path.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// A component can't be loaded.
    #[error("{path}: the component can't be loaded")]
    Plugin {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: LoadError,
    },
}
