//! The API as callers see it.

mod accounts;
mod schemes;
mod user_shares;
