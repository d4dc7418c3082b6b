//! Sessions as callers read them.

use quorate_backends::queue::Queue;
use quorate_core::SessionId;
use quorate_net::problem::Problem;

use super::operations::AccountService;
use super::present::session_view;
use super::views::SessionView;

impl AccountService {
    /// Reads a session, and stores what it has led to.
    ///
    /// # Errors
    /// [`SessionNotFound`](quorate_core::code::Code::SessionNotFound), or a problem of the deployment.
    pub async fn session(&self, id: SessionId) -> Result<SessionView, Problem> {
        session_view(&self.orders.read_and_reconcile(id).await?, self.events.of(id))
    }

    /// Listens to what components say while their sessions run, until it is dropped.
    pub async fn listen_to_events(&self, queue: &dyn Queue) {
        self.events.listen(queue).await;
    }
}
