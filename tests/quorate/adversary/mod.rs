//! A coordinator or a router that does not do its part.

mod against_account_service;
mod against_parties;
mod against_stored_accounts;
mod strangers;
