//! The gRPC services by which the roles talk to each other, generated from `quorate/v1/*.proto`.
//!
//! Signed statements (orders, reports) travel in these messages as the bytes that were signed: no part on the way
//! decodes and encodes them again.

pub mod convert;

/// Version 1.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, unreachable_pub, unused_qualifications)]
pub mod v1 {
    tonic::include_proto!("quorate.v1");
}

/// The descriptions of all services and messages, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/quorate.v1.bin"));
