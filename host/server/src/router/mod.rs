//! The router: carries frames between the parties of a session. It is trusted with nothing but to try.
//!
//! [`Hub`] is its heart: bounded buffers, one per session and party, where frames wait until the party takes them.

mod hub;

pub use hub::{Attached, Hub};
