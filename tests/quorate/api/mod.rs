//! The API as callers see it.

mod accounts;
mod user_shares;
