//! The library for authors of Quorate plugins.
//!
//! A plugin implements [`Protocol`] and ends with [`export!`]. Each operation is a protocol run in
//! rounds: a type that implements [`Rounds`], declares its [`Message`]s, and is handed every round's messages
//! once they are all there. The SDK does what every plugin would otherwise have to get right by itself: it
//! rejects messages of a wrong round or delivery kind, duplicates, and bytes that do not decode exactly,
//! names their sender as the culprit, and holds back what comes one round early. A plugin signs one item; [`Batch`] signs
//! the items of a task together.
//!
//! Protocols written with the `round-based` framework run through [`round_based::Machine`] (feature
//! `round-based`). Libraries with no slot for a context string get their payloads prefixed by
//! [`Binding`].
//!
//! Everything here also builds natively: host capabilities are the trait [`Host`], so that a plugin is tested
//! and benchmarked without a sandbox.
#![deny(unsafe_code)]

mod batch;
mod binding;
mod codec;
mod descriptor;
mod host;
mod mailbox;
#[cfg(feature = "rand-core-06")]
mod old_rng;
pub mod optional;
mod protocol;
mod repair;
#[cfg(feature = "round-based")]
pub mod round_based;
mod run;
mod types;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod wasm;

pub use batch::Batch;
pub use binding::Binding;
pub use codec::{decode, encode};
pub use descriptor::{Descriptor, Need, Operation};
pub use host::{Host, Level, Scope, VaultError, load, save};
pub use mailbox::{Inbox, Mailbox, Message, Outbox, Slot};
#[cfg(feature = "rand-core-06")]
pub use old_rng::OldRng;
pub use protocol::{Protocol, Session};
pub use repair::{KeyOutputs, RepairTask};
pub use run::{Rounds, Run};
pub use types::*;
