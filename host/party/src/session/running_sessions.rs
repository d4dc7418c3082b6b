//! The sessions that run in this process, and those that still answer peers.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use quorate_core::{AccountId, SessionId};
use quorate_party_store::BannedParty;
use tokio_util::sync::CancellationToken;

use crate::bans::SessionParties;

/// The sessions that run. Clones share them.
#[derive(Clone)]
pub(crate) struct RunningSessions {
    sessions: Arc<Mutex<HashMap<SessionId, Running>>>,
    /// Sessions that wait for memory before they are claimed.
    waiting: Arc<Mutex<HashMap<SessionId, CancellationToken>>>,
    /// The token of the party, of which the tokens of its sessions are children.
    closing: CancellationToken,
}

struct Running {
    token: CancellationToken,
    banned: CancellationToken,
    parties: SessionParties,
}

/// A session that runs, for as long as this lives.
pub(crate) struct RunningSession {
    sessions: RunningSessions,
    id: SessionId,
    /// Cancelled when the coordinator has given the session up, when a party of it is banned, or when this party is
    /// shutting down.
    pub(crate) token: CancellationToken,
    /// Cancelled when a party of the session is banned: nothing of it is sent any more.
    pub(crate) banned: CancellationToken,
}

/// A session that waits, for as long as this lives.
pub(crate) struct WaitingSession {
    sessions: RunningSessions,
    id: SessionId,
    /// Cancelled when the coordinator has given the session up, or when this party is shutting down.
    pub(crate) cancelled: CancellationToken,
}

impl Drop for WaitingSession {
    fn drop(&mut self) {
        self.sessions.waiting.lock().remove(&self.id);
    }
}

impl RunningSessions {
    /// No session runs yet. `closing` ends all of them.
    pub(crate) fn new(closing: CancellationToken) -> Self {
        Self { sessions: Arc::default(), waiting: Arc::default(), closing }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Running>> {
        self.sessions.lock()
    }

    pub(crate) fn add(&self, id: SessionId, parties: SessionParties) -> RunningSession {
        let (token, banned) = (self.closing.child_token(), CancellationToken::new());
        self.lock().insert(id, Running { token: token.clone(), banned: banned.clone(), parties });
        RunningSession { sessions: self.clone(), id, token, banned }
    }

    /// Lets a session wait.
    pub(crate) fn wait(&self, id: SessionId) -> WaitingSession {
        let cancelled = self.closing.child_token();
        self.waiting.lock().insert(id, cancelled.clone());
        WaitingSession { sessions: self.clone(), id, cancelled }
    }

    /// Cancels a session, if it runs or waits here.
    pub(crate) fn cancel(&self, id: SessionId) {
        if let Some(waiting) = self.waiting.lock().get(&id) {
            waiting.cancel();
        }
        if let Some(running) = self.lock().get(&id) {
            running.token.cancel();
        }
    }

    /// Holds back all that sessions with a banned party have yet to send.
    pub(crate) fn silence(&self, banned: &BannedParty) {
        for running in self.lock().values().filter(|running| running.parties.include(banned)) {
            running.banned.cancel();
        }
    }

    /// Ends all sessions with a banned party.
    pub(crate) fn end_banned(&self, banned: &BannedParty) {
        for running in self.lock().values().filter(|running| running.parties.include(banned)) {
            running.banned.cancel();
            running.token.cancel();
        }
    }

    /// Cancels all sessions.
    pub(crate) fn cancel_all(&self) {
        self.lock().values().for_each(|running| running.token.cancel());
    }

    /// Cancels all sessions of an account.
    pub(crate) fn cancel_account(&self, account: AccountId) {
        for running in self.lock().values().filter(|running| running.parties.account == account) {
            running.token.cancel();
        }
    }

    /// Whether a session of an account runs here.
    pub(crate) fn has_any_of(&self, account: AccountId) -> bool {
        self.lock().values().any(|running| running.parties.account == account)
    }
}

impl Drop for RunningSession {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::PartyIndex;
    use tokio::time::Instant;

    use super::*;

    fn parties(account: u8, signers: u16) -> SessionParties {
        let signers = PartyIndex::all(signers).collect();
        SessionParties {
            account: AccountId([account; 16]),
            share_set: None,
            signers,
            permitted: vec![],
            admitted_at: Instant::now(),
        }
    }

    #[test]
    fn a_cancelled_session_ends_alone_and_a_party_that_closes_ends_all() {
        let closing = CancellationToken::new();
        let sessions = RunningSessions::new(closing.clone());
        let [first, second] = [1, 2].map(|number| sessions.add(SessionId([number; 32]), parties(1, 2)));
        sessions.cancel(SessionId([1; 32]));
        sessions.cancel(SessionId([3; 32]));
        assert!(first.token.is_cancelled() && !second.token.is_cancelled() && !closing.is_cancelled());
        closing.cancel();
        assert!(second.token.is_cancelled() && !second.banned.is_cancelled());
        assert!(
            sessions.add(SessionId([4; 32]), parties(1, 2)).token.is_cancelled(),
            "a session began while the party closes"
        );
        drop((first, second));
        assert!(sessions.lock().is_empty(), "an ended session is still counted as running");
    }

    #[test]
    fn a_ban_ends_the_sessions_of_its_pair_and_no_others() {
        let sessions = RunningSessions::new(CancellationToken::new());
        let pair = sessions.add(SessionId([1; 32]), parties(1, 2));
        let alone = sessions.add(SessionId([2; 32]), parties(1, 1));
        let elsewhere = sessions.add(SessionId([3; 32]), parties(2, 2));
        let second = PartyIndex::all(2).last().unwrap_or(PartyIndex::FIRST);
        sessions.end_banned(&parties(1, 2).banned(second));
        assert!(pair.banned.is_cancelled() && pair.token.is_cancelled());
        assert!(!alone.token.is_cancelled() && !elsewhere.token.is_cancelled());
        sessions.cancel_account(AccountId([1; 16]));
        assert!(
            alone.token.is_cancelled() && !alone.banned.is_cancelled() && !elsewhere.token.is_cancelled()
        );
        assert!(sessions.has_any_of(AccountId([2; 16])) && !sessions.has_any_of(AccountId([3; 16])));
    }
}
