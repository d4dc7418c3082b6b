//! A coordinator, a router or an account service that does not do its part.

mod against_account_service;
mod against_parties;
mod against_stored_accounts;
mod against_users_party;
mod strangers;
