//! The gRPC services by which the roles talk to each other, generated from `quorate/v1/*.proto`. The generated code stands in
//! `generated/`, so that a build of the program compiles no generator; a test compares it with the .proto files.
//!
//! Signed statements (orders, reports) travel in these messages as the bytes that were signed: no part on the way
//! decodes and encodes them again.

pub mod convert;

/// Version 1.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, unreachable_pub, unused_qualifications)]
pub mod v1 {
    include!("generated/quorate.v1.rs");
}

/// The descriptions of all services and messages, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/quorate.v1.bin");
