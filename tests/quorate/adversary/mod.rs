//! A coordinator or a router that does not do its part.

mod coordinator_and_router;
mod lying_coordinator;
