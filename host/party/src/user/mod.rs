//! Shares that users keep: where plans wait for their users, how a share is delivered, and how one is used.

mod cosign;
pub(crate) mod custody;
pub mod inbox;
pub mod shares;
