//! The roles of Quorate, and the only place where core, store, queue, cache and sandbox are wired together.
//!
//! What is here so far: [`party`], which takes on plans and runs sessions, and the heart of the [`router`]. Coordinator,
//! account service and the interfaces between the roles come next.

pub mod clock;
pub mod party;
pub mod router;
pub mod verify;
