//! HTTP: the accept loop of all roles.

pub mod serve;
