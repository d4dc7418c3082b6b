//! Shares that users keep: where plans wait for their users, how a share is handed out, and how one is used.

mod cosign;
pub mod custody;
pub mod shares;
