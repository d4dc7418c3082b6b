//! The sessions that run in this process.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use quorate_core::SessionId;
use tokio_util::sync::CancellationToken;

/// The sessions that run. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct RunningSessions(Arc<Mutex<HashMap<SessionId, CancellationToken>>>);

/// A session that runs, for as long as this lives.
pub(crate) struct RunningSession {
    sessions: RunningSessions,
    id: SessionId,
    /// Cancelled when the coordinator has given the session up.
    pub(crate) token: CancellationToken,
}

impl RunningSessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, CancellationToken>> {
        self.0.lock()
    }

    pub(crate) fn add(&self, id: SessionId) -> RunningSession {
        let token = CancellationToken::new();
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
