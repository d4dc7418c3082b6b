//! The part of Quorate that decides: who may do what, and what a session does next.
//!
//! Architecture invariant: no I/O, no clock, no operating-system randomness, no async runtime. Time and randomness
//! are passed in; effects are values that the caller carries out.

pub mod ids;
pub mod party;

pub use ids::{Digest, ExecutionId, GroupId};
pub use party::{PartyIndex, PartyIndexError, Threshold, ThresholdError};
