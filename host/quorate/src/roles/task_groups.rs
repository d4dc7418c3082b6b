//! The tasks of all roles in one process, as a tree of tokens: a group stops alone, or all groups stop together.

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// All tasks of the process, in the order in which they stop. Dropped, they are all told to stop.
pub(super) struct TaskGroups {
    pub(super) api: TaskGroup,
    pub(super) parties: TaskGroup,
    pub(super) coordinator_and_router: TaskGroup,
    /// Cancels the token of which those of the groups are children.
    _stop: DropGuard,
}

impl TaskGroups {
    pub(super) fn new() -> Self {
        let stop = CancellationToken::new();
        let group = || TaskGroup { token: stop.child_token(), tasks: TaskTracker::new() };
        let (api, parties, coordinator_and_router) = (group(), group(), group());
        Self { api, parties, coordinator_and_router, _stop: stop.drop_guard() }
    }
}

/// Tasks that stop together.
pub(super) struct TaskGroup {
    pub(super) token: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl TaskGroup {
    /// Tells the tasks to stop, and waits until they have.
    pub(super) async fn stop(&self) {
        self.token.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
