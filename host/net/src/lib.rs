//! Servers and clients that every role shares.
//!
//! | concern | modules |
//! |---|---|
//! | serving | [`server`] (the accept loop), [`listener`], `idle`, [`tls`], [`tls_files`] |
//! | HTTP | [`web`]: callers, bodies, parameters, problem documents, `/health` |
//! | gRPC | [`grpc`], over [`tcp`] or [`memory`], to one of several [`replicas`]; [`private_networks`] |
//! | the router, as parties and coordinators use it | [`router_client`], [`join_token`] |
//! | names and errors that roles have in common | [`topics`], [`problem`] |
//! | a process | [`clock`], [`telemetry`] |
//!
//! Architecture invariant: this crate knows no role. It depends on `quorate-core`, on the generated gRPC types and on
//! the ports of `quorate-backends`, and never on a role, a store or the sandbox.

pub mod clock;
mod connections;
pub mod grpc;
mod idle;
pub mod join_token;
pub mod listener;
pub mod memory;
mod metered_body;
pub mod private_networks;
pub mod problem;
pub mod replicas;
pub mod router_client;
pub mod server;
pub mod tcp;
pub mod telemetry;
pub mod tls;
pub mod tls_files;
pub mod topics;
pub mod web;
