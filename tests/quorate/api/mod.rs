//! The API as callers see it.

pub(crate) mod accounts;
mod user_shares;
