//! The parts that all HTTP interfaces of Quorate share: the check of callers, bodies and parameters, problem
//! documents, and `/health`.

mod api_keys;
pub mod body;
mod failed_keys;
pub mod guard;
pub mod headers;
pub mod health;
pub mod params;
pub mod problem_document;
pub mod rates;
