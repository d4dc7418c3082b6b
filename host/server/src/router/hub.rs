//! Buffers of frames, one per session and party.
//!
//! A frame for a party that is not attached yet waits. A buffer that is full takes nothing more: the parties send again
//! what was lost. A buffer is gone when its party has let go of it, or when the session's time is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_core::{PartyIndex, SessionId};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

/// Frames that wait for one party of one session. A keygen of 16 parties sends each about 150, and sends them again
/// every two seconds while nothing moves.
const FRAMES: usize = 512;

/// Sessions at a time. At 60 signatures a second with a deadline of 10 seconds there are 600.
const SESSIONS: usize = 4_096;

type Key = (SessionId, PartyIndex);

/// All buffers of a router. Clones share them.
#[derive(Clone, Default)]
pub struct Hub {
    buffers: Arc<Mutex<HashMap<Key, Buffer>>>,
}

struct Buffer {
    sender: Sender<Vec<u8>>,
    /// There until the party attaches.
    receiver: Option<Receiver<Vec<u8>>>,
    expires: Instant,
}

/// A party's hold on its buffer. Dropping it closes the buffer.
pub struct Attached {
    hub: Hub,
    key: Key,
    receiver: Receiver<Vec<u8>>,
}

impl Hub {
    /// Attaches a party to a session, for `time_to_live` at most. `None` if it is attached already, or if there are too
    /// many sessions.
    #[must_use]
    pub fn attach(&self, session: SessionId, party: PartyIndex, time_to_live: Duration) -> Option<Attached> {
        let key = (session, party);
        let receiver = self.with_buffer(key, time_to_live, |buffer| {
            buffer.expires = Instant::now() + time_to_live;
            buffer.receiver.take()
        })??;
        Some(Attached { hub: self.clone(), key, receiver })
    }

    /// Puts a frame into a party's buffer; false if there was no room.
    pub fn send(&self, session: SessionId, to: PartyIndex, frame: Vec<u8>, time_to_live: Duration) -> bool {
        self.with_buffer((session, to), time_to_live, |buffer| buffer.sender.try_send(frame).is_ok())
            .unwrap_or(false)
    }

    fn with_buffer<T>(
        &self,
        key: Key,
        time_to_live: Duration,
        act: impl FnOnce(&mut Buffer) -> T,
    ) -> Option<T> {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if !buffers.contains_key(&key) {
            if buffers.len() >= SESSIONS {
                let now = Instant::now();
                buffers.retain(|_, buffer| buffer.expires > now);
            }
            if buffers.len() >= SESSIONS {
                return None;
            }
            let (sender, receiver) = channel(FRAMES);
            let expires = Instant::now() + time_to_live;
            buffers.insert(key, Buffer { sender, receiver: Some(receiver), expires });
        }
        buffers.get_mut(&key).map(act)
    }
}

impl Attached {
    /// The next frame. May be cancelled without losing one.
    pub async fn receive(&mut self) -> Option<Vec<u8>> {
        self.receiver.recv().await
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut buffers = self.hub.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    fn key() -> (SessionId, PartyIndex) {
        (SessionId([1; 32]), PartyIndex::FIRST)
    }

    #[tokio::test]
    async fn frames_wait_for_a_party_that_is_not_attached_yet() {
        let (hub, (session, party)) = (Hub::default(), key());
        assert!(hub.send(session, party, vec![1], SOON));
        let mut attached = hub.attach(session, party, SOON).unwrap();
        assert!(hub.send(session, party, vec![2], SOON));
        assert_eq!((attached.receive().await, attached.receive().await), (Some(vec![1]), Some(vec![2])));
        assert!(hub.attach(session, party, SOON).is_none(), "two hold one buffer");
        drop(attached);
        assert!(hub.attach(session, party, SOON).is_some());
    }

    #[tokio::test]
    async fn buffers_and_their_number_are_bounded() {
        let (hub, (session, party)) = (Hub::default(), key());
        let taken = (0..FRAMES * 2).filter(|_| hub.send(session, party, vec![1], SOON)).count();
        assert_eq!(taken, FRAMES);
        let sessions = |hub: &Hub, from: usize, ttl| {
            (from..from + SESSIONS)
                .filter(|i| {
                    let mut id = [2; 32];
                    id[..8].copy_from_slice(&(*i as u64).to_be_bytes());
                    hub.send(SessionId(id), party, vec![1], ttl)
                })
                .count()
        };
        assert_eq!(sessions(&hub, 0, SOON), SESSIONS - 1);
        assert_eq!(sessions(&hub, SESSIONS, SOON), 0);
        // Sessions whose time is over give their room to others.
        let over = Hub::default();
        assert_eq!(sessions(&over, 0, Duration::ZERO), SESSIONS);
        assert_eq!(sessions(&over, SESSIONS, SOON), SESSIONS);
    }
}
