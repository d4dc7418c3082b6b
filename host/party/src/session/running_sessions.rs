//! The sessions that run in this process.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use quorate_core::SessionId;
use tokio_util::sync::CancellationToken;

/// The sessions that run. Clones share them.
#[derive(Clone)]
pub(crate) struct RunningSessions {
    tokens: Arc<Mutex<HashMap<SessionId, CancellationToken>>>,
    /// The token of the party, of which the tokens of its sessions are children.
    closing: CancellationToken,
}

/// A session that runs, for as long as this lives.
pub(crate) struct RunningSession {
    sessions: RunningSessions,
    id: SessionId,
    /// Cancelled when the coordinator has given the session up, or the party is shutting down.
    pub(crate) token: CancellationToken,
}

impl RunningSessions {
    /// No session runs yet. `closing` ends all of them.
    pub(crate) fn new(closing: CancellationToken) -> Self {
        Self { tokens: Arc::default(), closing }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, CancellationToken>> {
        self.tokens.lock()
    }

    pub(crate) fn add(&self, id: SessionId) -> RunningSession {
        let token = self.closing.child_token();
        self.lock().insert(id, token.clone());
        RunningSession { sessions: self.clone(), id, token }
    }

    /// Cancels a session, if it runs here.
    pub(crate) fn cancel(&self, id: SessionId) {
        if let Some(token) = self.lock().get(&id) {
            token.cancel();
        }
    }
}

impl Drop for RunningSession {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_session_ends_alone_and_a_party_that_closes_ends_all() {
        let closing = CancellationToken::new();
        let sessions = RunningSessions::new(closing.clone());
        let [first, second] = [1, 2].map(|number| sessions.add(SessionId([number; 32])));
        sessions.cancel(SessionId([1; 32]));
        sessions.cancel(SessionId([3; 32]));
        assert!(first.token.is_cancelled() && !second.token.is_cancelled() && !closing.is_cancelled());
        closing.cancel();
        assert!(second.token.is_cancelled());
        assert!(
            sessions.add(SessionId([4; 32])).token.is_cancelled(),
            "a session began while the party closes"
        );
        drop((first, second));
        assert!(sessions.lock().is_empty(), "an ended session is still counted as running");
    }
}
