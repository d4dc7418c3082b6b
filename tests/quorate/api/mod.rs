//! The API as callers see it.

mod accounts;
mod presignatures;
mod schemes;
mod user_shares;
