//! The part of Quorate that decides: who may do what, and what a session does next.
//!
//! Architecture invariant: no I/O, no clock, no operating-system randomness, no async runtime. Time and randomness
//! are passed in; effects are values that the caller carries out.
//!
//! A party [takes on](admission) a [`plan`] for an [`order`], runs a [`session`] over an untrusted network and, where
//! the session makes shares, keeps a [`promise`] until there is a [`certificate`].

pub mod abort;
pub mod acknowledgement;
pub mod admission;
pub mod ban;
pub mod certificate;
pub mod code;
pub mod codec;
pub mod envelope;
pub mod event;
pub mod heartbeat;
pub mod hello;
mod hpke_suite;
pub mod identity;
pub mod ids;
mod key_record;
mod key_spec;
pub mod order;
pub mod party;
pub mod payload_sealing;
pub mod plan;
pub mod presignatures;
pub mod promise;
pub mod report;
mod scheme_signature;
pub mod sealed_box;
pub mod sealing_key;
pub mod session;
pub mod share_claim;
pub mod share_grant;
pub mod submission;
pub mod time;
pub mod user_share;
pub mod wiped_stack;

pub use code::Code;
pub use ids::{
    AccountId, DatabaseId, Digest, ExecutionId, GroupId, InvalidId, OrderId, OutputHash, PlanHash, PoolId,
    PreparedId, SealingKeyId, SessionId,
};
pub use key_record::KeyRecord;
pub use key_spec::{KeyField, KeySpec};
pub use party::{PartyIndex, PartyIndexError, Threshold, ThresholdError};
pub use scheme_signature::SchemeSignature;
pub use time::{UnixMillis, UnixSeconds};
