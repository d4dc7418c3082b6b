//! The party: holds one share of each key, and runs sessions with it.
//!
//! A plan comes through the queue ([`worker`]), is run (`runner`) if this party takes it on ([`intake`]: admission by
//! [`quorate_core::admission`], and a claim in the [store](quorate_party_store)), and what became of it is reported
//! (`reporter`). The session itself is `session`: the state machine is [core's](quorate_core::session), the protocol
//! is the [sandbox's](quorate_runtime). The party carries out what they say, in the order in which they say it: what
//! is to be durable is durable before anything is sent.
//!
//! | module | what |
//! |---|---|
//! | [`worker`] | the party at work: its queue, heartbeats, maintenance |
//! | [`intake`], [`recovery`] | what it takes on; what it reports of sessions that were interrupted |
//! | `session` | one session, phase by phase |
//! | `component_cache`, `events`, `event_sender` | what components keep for a while, and say while they run |
//! | [`user`], [`api`] | shares that users keep, and the API by which they come |
//! | [`admin`] | what an operator does at a party |

pub mod admin;
pub mod api;
pub mod intake;
pub mod recovery;
pub mod user;
pub mod worker;

mod ban_reports;
mod bans;
mod component_cache;
mod event_sender;
mod events;
mod heartbeat;
mod party;
mod party_setup;
mod refusal;
mod registry;
mod reporter;
mod runner;
mod session;

pub use ban_reports::{ExportFailed, ReadmitRefused};
pub use component_cache::prefix_of as cache_prefix_of;
pub use party::Party;
pub use party_setup::PartySetup;
pub use refusal::PlanRefusal;
pub use registry::NotInstalled;
pub use session::SessionTask;
