//! One party, and what its operator does at it.

mod clocks;
mod operator;
mod sessions;
