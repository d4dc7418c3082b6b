//! The inbox of the users' party. Plans that need a user wait in the store until the user sends a share (signing,
//! refresh) or asks for one (keygen); the inbox says how many users' requests there may be, and when something has
//! come.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::code::Code;
use quorate_core::user_share::UserShare;
use quorate_net::problem::Problem;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::custody::UserShareContext;

/// How often the store is asked for plans and deliveries that another replica may have taken.
pub(super) const REQUEST_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Requests of users at a time.
const MAX_USER_REQUESTS: usize = 128;

/// Requests at a time that wait for what another request runs.
const MAX_FOLLOWING_REQUESTS: usize = 128;

/// Where plans wait for users.
pub struct UserInbox {
    confirm_within: Duration,
    arrived: Notify,
    /// Permits for users' requests.
    requests: Arc<Semaphore>,
    /// Permits for requests that wait for what another request runs.
    followers: Arc<Semaphore>,
}

impl UserInbox {
    /// An inbox whose users confirm a new share within this time.
    #[must_use]
    pub fn new(confirm_within: Duration) -> Self {
        let requests = Arc::new(Semaphore::new(MAX_USER_REQUESTS));
        let followers = Arc::new(Semaphore::new(MAX_FOLLOWING_REQUESTS));
        Self { confirm_within, arrived: Notify::new(), requests, followers }
    }

    pub(super) fn context(&self, share: Option<UserShare>, recipient: Option<[u8; 32]>) -> UserShareContext {
        UserShareContext {
            share,
            recipient,
            confirm_within: self.confirm_within,
            unsealed: Default::default(),
        }
    }

    /// A permit for a user's request.
    pub(super) fn permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        acquire(&self.requests)
    }

    /// A permit to wait for what another request runs. Such requests cost nothing but their place, and take none from
    /// those that begin something.
    pub(super) fn follow(&self) -> Result<OwnedSemaphorePermit, Problem> {
        acquire(&self.followers)
    }

    /// Wakes the requests that wait for a plan.
    pub(super) fn notify(&self) {
        self.arrived.notify_waiters();
    }

    /// Waits until a plan may have come, here or at another replica.
    pub(super) async fn wait(&self) {
        let _ = tokio::time::timeout(REQUEST_POLL_INTERVAL, self.arrived.notified()).await;
    }
}

fn acquire(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    let overloaded =
        |_| Problem::new(Code::Overloaded, "too many users' requests are being worked on: try again later");
    Arc::clone(permits).try_acquire_owned().map_err(overloaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_wait_for_another_take_no_place_from_those_that_begin_something() {
        let inbox = UserInbox::new(Duration::from_secs(1));
        let following: Vec<_> = std::iter::from_fn(|| inbox.follow().ok()).collect();
        assert_eq!(following.len(), MAX_FOLLOWING_REQUESTS);
        let working: Vec<_> = std::iter::from_fn(|| inbox.permit().ok()).collect();
        assert_eq!(working.len(), MAX_USER_REQUESTS);
        drop(working);
        assert!(inbox.permit().is_ok(), "a place is free again once its request is over");
    }
}
