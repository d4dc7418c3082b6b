//! The errors of components, by who must act: the publisher, the operator, a peer, or the maintainers of Quorate.

use quorate_core::{Digest, PartyIndex};

use crate::codes::Detail;

/// Why a component was not loaded. The component's publisher or the operator who chose it must act.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Too large, or not a component at all (a core module, text, nothing).
    #[error("plugin {digest}: not a WebAssembly component: {reason}")]
    NotAComponent {
        /// Which bytes.
        digest: Digest,
        /// The reason.
        reason: String,
    },
    /// A component of another world: it lacks the `protocol` export, or has it with other types.
    #[error("plugin {digest}: not a component of world quorate:party/plugin@0.1.0: {reason}")]
    WrongWorld {
        /// Which bytes.
        digest: Digest,
        /// The reason.
        reason: String,
    },
    /// It asks for something that no component gets.
    #[error(
        "plugin {digest} imports `{import}`, which is not a capability of Quorate: a plugin may import only vault, cache, bus, entropy, hash and log"
    )]
    UnknownImport {
        /// Which bytes.
        digest: Digest,
        /// The import that it asks for.
        import: String,
    },
    /// It asks for a capability that the operator has not granted.
    #[error(
        "plugin {digest} asks for the capability {capability}, which its protocol is not granted: the operator grants it \
         (QUORATE_PLUGIN_GRANTS), or installs another plugin"
    )]
    NotGranted {
        /// Which bytes.
        digest: Digest,
        /// The name of the capability.
        capability: &'static str,
    },
    /// Our own trouble: out of memory or threads. The operator must act; the component may be fine.
    #[error("plugin {digest} could not be loaded: {reason}")]
    Host {
        /// Which bytes.
        digest: Digest,
        /// The reason.
        reason: String,
    },
    /// The process has less memory for all sessions than one session of it needs. The operator must act.
    #[error(
        "plugin {digest} needs {} MiB of memory for a session, and QUORATE_SANDBOX_MEMORY_MB is less than that",
        needed.div_ceil(1 << 20)
    )]
    TooLittleMemory {
        /// Which bytes.
        digest: Digest,
        /// Bytes of linear memory.
        needed: usize,
    },
    /// Its descriptor is invalid, or `describe` failed.
    #[error("plugin {digest} does not describe itself properly: {reason}")]
    BadDescriptor {
        /// Which bytes.
        digest: Digest,
        /// The reason.
        reason: String,
    },
}

/// Why a session ended without an outcome: which plugin, which party, and what happened.
#[derive(Debug, thiserror::Error)]
#[error("plugin {plugin} ({digest}), party {party}: {kind}")]
pub struct SessionError {
    /// The protocol's name.
    pub plugin: String,
    /// Which component.
    pub digest: Digest,
    /// The party that ran it.
    pub party: PartyIndex,
    /// The kind of failure.
    pub kind: SessionErrorKind,
}

/// The kinds of failure of a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionErrorKind {
    /// The task can't be done as asked: the caller must ask for something else.
    #[error("the task can't be done: {0}")]
    InvalidTask(Detail),
    /// The stored share can't be used: the operator must look into it.
    #[error("the stored share can't be used: {0}")]
    InvalidShare(Detail),
    /// A peer broke the protocol.
    #[error("a peer is at fault: {}", .0.detail)]
    Fault(Fault),
    /// The component says that it has a bug.
    #[error("the plugin reports a bug of its own: {0}")]
    Internal(Detail),
    /// The component did what none may do.
    #[error("the plugin misbehaved: {0}")]
    Misbehaviour(#[from] Misbehaviour),
    /// The session's deadline passed.
    #[error("the session's deadline passed while the plugin was running")]
    Deadline,
    /// Our own trouble, not the component's: no memory, no randomness, a stopped thread.
    #[error("host error: {0}")]
    Host(String),
}

/// A peer that broke the protocol, by the component's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The responsible peers; empty where the protocol can't tell.
    pub culprits: Vec<PartyIndex>,
    /// Never work with the culprits on this key again.
    pub ban: bool,
    /// Their fault.
    pub detail: Detail,
}

/// How a component broke the rules of the sandbox: its publisher must act, and the operator may quarantine it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// It trapped. The text is wasmtime's name for the trap.
    #[error("trap: {0}")]
    Trap(String),
    /// It recursed too deeply.
    #[error("its call stack is exhausted")]
    StackOverflow,
    /// It computed for too long.
    #[error("it used up its CPU time of {0:?}")]
    CpuTime(std::time::Duration),
    /// It asked for more memory or table space than a session gets.
    #[error("it asked for more than {limit} of {resource}")]
    Memory {
        /// Linear memory or table elements.
        resource: &'static str,
        /// The limit, in bytes or elements.
        limit: usize,
    },
    /// It holds too many resource handles.
    #[error("it holds too many resource handles")]
    Handles,
    /// It handed too much to the host in one call.
    #[error("it handed more to the host than one call may carry")]
    HostcallBytes,
    /// It asked a capability for more than a session gets.
    #[error("it used up its quota of {0}")]
    Quota(&'static str),
    /// It returned something that the contract does not allow.
    #[error("invalid output: {0}")]
    InvalidOutput(String),
    /// It could not be instantiated.
    #[error("it can't be instantiated: {0}")]
    Instantiation(String),
}

/// A reason for which a host function or a limiter ends a session when the component is not to blame.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Stop {
    /// The session's deadline has passed.
    #[error("the deadline has passed")]
    Deadline,
    /// The host could not do its part.
    #[error("{0}")]
    Host(String),
}

impl SessionErrorKind {
    /// The number of the component's code, where the component has failed with one.
    #[must_use]
    pub fn plugin_code(&self) -> Option<u16> {
        match self {
            Self::InvalidTask(detail) | Self::InvalidShare(detail) | Self::Internal(detail) => {
                detail.code.number()
            }
            Self::Fault(fault) => fault.detail.code.number(),
            Self::Misbehaviour(_) | Self::Deadline | Self::Host(_) => None,
        }
    }

    /// Reads a wasmtime error: what we raised ourselves comes back as it was, the rest goes by trap code.
    pub(crate) fn from_wasmtime(error: &wasmtime::Error) -> Self {
        if let Some(own) = error.downcast_ref::<Misbehaviour>() {
            return own.clone().into();
        }
        match error.downcast_ref::<Stop>() {
            Some(Stop::Deadline) => return Self::Deadline,
            Some(Stop::Host(reason)) => return Self::Host(reason.clone()),
            None => {}
        }
        let text = format!("{error:#}");
        Self::Misbehaviour(match error.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::StackOverflow) => Misbehaviour::StackOverflow,
            Some(trap) => Misbehaviour::Trap(trap.to_string()),
            // wasmtime gives these two no type of their own; the sandbox's tests of misbehaving plugins hold the
            // texts in place.
            None if text.contains("fuel allocated for hostcalls") => Misbehaviour::HostcallBytes,
            None if text.contains("handle limit exceeded") => Misbehaviour::Handles,
            // The text may have numbers that the component has chosen.
            None => Misbehaviour::Trap("a call that the component model does not allow".into()),
        })
    }
}
