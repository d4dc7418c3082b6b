//! One party, and what its operator does at it.

mod bans;
mod clocks;
mod cluster;
mod ephemeral_keys;
mod memory;
mod operator;
mod prepared;
mod sessions;
mod share_sets;
