//! The roles of Quorate, and the only place where core, store, queue, cache and sandbox are wired together.
//!
//! | role | module | what it does |
//! |---|---|---|
//! | account | [`account`], [`http`] | the API that backends call; states what they asked for, in signed orders |
//! | coordinator | [`coordinator`] | makes sessions out of orders; trusted with nothing but to try |
//! | router | [`router`] | carries frames between parties; trusted with nothing but to try |
//! | party | [`party`] | holds one share of each key, and runs the plugin |
//! | party-api | [`party_api`] | makes users' shares, and signs with those that users bring |
//!
//! The roles talk through their gRPC services ([`grpc`]). [`embedded`] runs all of them in one process.

pub mod account;
pub mod admin;
pub mod cli;
pub mod clock;
pub mod code;
pub mod config;
pub mod coordinator;
pub mod embedded;
pub mod grpc;
pub mod hardening;
pub mod http;
pub mod party;
pub mod party_api;
pub mod problem;
pub mod proof;
pub mod roles;
pub mod router;
pub mod telemetry;
pub mod tls;
pub mod verify;
