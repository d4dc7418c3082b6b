//! The calls that a component makes to the host in one session: what they may cost, and the secrets that they give
//! back.

use std::sync::Arc;
use std::time::Instant;

use crate::error::{Misbehaviour, Stop};
use crate::limits;
use crate::secret::GuestSecret;

/// Counts the host calls of one session, and holds the secrets that they have given to the guest.
pub(crate) struct HostCalls {
    /// Held until the step is over, so that the last handle is one that wipes.
    guest_secrets: Vec<GuestSecret>,
    deadline: Instant,
    count: u32,
    bytes: usize,
}

impl HostCalls {
    pub(crate) fn new(deadline: Instant) -> Self {
        Self { guest_secrets: Vec::new(), deadline, count: 0, bytes: 0 }
    }

    /// Begins every host call: counts it and what it carries, and ends the session at its deadline. No tick comes
    /// during host calls, so a component that only makes them would see no other end.
    pub(crate) fn charge(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.count > limits::MAX_HOST_CALLS || self.bytes > limits::MAX_HOST_CALL_TOTAL_BYTES {
            return Err(Misbehaviour::Quota("capability calls").into());
        }
        self.stop_at_deadline()
    }

    pub(crate) fn stop_at_deadline(&self) -> wasmtime::Result<()> {
        if Instant::now() >= self.deadline { Err(Stop::Deadline.into()) } else { Ok(()) }
    }

    /// Gives a secret to the guest: the handle returned is for wasmtime to copy from and drop.
    pub(crate) fn give(&mut self, secret: &[u8]) -> Arc<[u8]> {
        let given = GuestSecret::new(secret);
        let handle = given.handle();
        self.guest_secrets.push(given);
        handle
    }

    /// Wipes the secrets that the guest was given: it has its own copies by now.
    pub(crate) fn wipe_given_secrets(&mut self) {
        self.guest_secrets.clear();
    }
}
