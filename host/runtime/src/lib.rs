//! Loads a protocol as a sandboxed WebAssembly component and steps its sessions.
//!
//! A [`Runtime`] compiles components into [`Plugin`]s; a plugin [starts](Plugin::start) [`ComponentSession`]s; a
//! session is [stepped](ComponentSession::step) with incoming messages until it is done. What a component may reach
//! is passed in as [`Capabilities`]; what it may use up is in [`limits`].
//!
//! Architecture invariants:
//! - no other crate names wasmtime, and this one names no broker, database or network;
//! - one fresh instance per session, in a store of its own, dropped after it, never reused;
//! - a component imports nothing but the capabilities that it was granted;
//! - memory that held a share is overwritten before anybody else can get it ([`unchecked`], the one place with
//!   unsafe code);
//! - whatever a component does, the host lives on and the next session works.

pub mod capabilities;
pub mod limits;

mod bindings;
mod codes;
mod compile_cache;
mod descriptor;
mod engine;
mod error;
mod executor;
mod host_calls;
mod host_state;
mod linker;
mod memory_budget;
mod message;
mod needs;
mod operation;
mod output;
mod plugin;
mod secret;
mod session;
mod task;
mod text;
mod ticker;
#[allow(unsafe_code)]
mod unchecked;

pub use capabilities::{Capabilities, Capability, Grants};
pub use codes::{Detail, PluginCode, PluginCodes, PluginText};
pub use compile_cache::CompileCache;
pub use descriptor::Descriptor;
pub use engine::{Runtime, RuntimeConfig};
pub use error::{Fault, LoadError, Misbehaviour, SessionError, SessionErrorKind};
pub use executor::Priority;
pub use memory_budget::SessionMemory;
pub use message::OutgoingMessage;
pub use needs::{Need, Needs, SessionNeed};
pub use operation::PluginOperation;
pub use output::{ComponentOutcome, GeneratedKey, OutputState};
pub use plugin::Plugin;
pub use secret::SecretBytes;
pub use session::{ComponentSession, Progress, SessionSpec, Step};
pub use task::{RepairTask, Roster, SignTask, SignTaskItem, Task};
