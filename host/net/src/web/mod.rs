//! What every HTTP interface of Quorate shares: who may call, how bodies and parameters are read, how errors are told, and
//! `/health`.

pub mod body;
pub mod guard;
pub mod health;
pub mod params;
pub mod problem_document;
