//! Buffers of frames, one per session and party.
//!
//! A frame for a party that is not attached yet waits. A buffer that is full takes nothing more: the parties send again
//! what was lost. A party that has let go of its buffer gets nothing more; the buffer itself is gone when the session's
//! time is over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::{PartyIndex, SessionId};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

/// Frames that wait for one party of one session. A keygen of 16 parties sends each about 150, and sends them again
/// every two seconds while nothing moves.
const FRAMES: usize = 512;

/// Bytes that wait for one party of one session. A round of a keygen of 16 parties is 15 times 143 kB, and frames that are
/// sent again come on top.
const BUFFER_BYTES: usize = 16 << 20;

/// Bytes that wait in all buffers. What comes beyond that is lost, and sent again.
const ALL_BYTES: usize = 512 << 20;

/// Buffers at a time, of parties that were there a while ago too. At 60 signatures a second, with two signers and a
/// deadline of 10 seconds, there are 1,200.
const BUFFERS: usize = 4_096;

/// How often buffers whose time is over are looked for.
const SWEEP: Duration = Duration::from_secs(1);

type Key = (SessionId, PartyIndex);

/// All buffers of a router. Clones share them.
#[derive(Clone)]
pub struct Hub {
    buffers: Arc<Mutex<Buffers>>,
}

struct Buffers {
    of: HashMap<Key, Buffer>,
    swept: Instant,
    /// Bytes that wait in all of them.
    bytes: Arc<AtomicUsize>,
}

/// A frame in a buffer, counted for as long as it waits.
struct Waiting {
    frame: Bytes,
    counted: [Arc<AtomicUsize>; 2],
}

impl Waiting {
    fn new(frame: Bytes, counted: [Arc<AtomicUsize>; 2]) -> Option<Self> {
        let room = |(count, most): (&Arc<AtomicUsize>, usize)| {
            count.load(Ordering::Relaxed).saturating_add(frame.len()) <= most
        };
        if !counted.iter().zip([BUFFER_BYTES, ALL_BYTES]).all(room) {
            return None;
        }
        counted.iter().for_each(|count| {
            count.fetch_add(frame.len(), Ordering::Relaxed);
        });
        Some(Self { frame, counted })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for count in &self.counted {
            count.fetch_sub(self.frame.len(), Ordering::Relaxed);
        }
    }
}

struct Buffer {
    state: State,
    expires: Instant,
    bytes: Arc<AtomicUsize>,
}

enum State {
    /// Frames wait for a party that has not come yet.
    Waiting(Sender<Waiting>, Receiver<Waiting>),
    Attached(Sender<Waiting>),
    /// The party has let go: what still comes for it is thrown away.
    Left,
}

/// A party's hold on its buffer. Dropping it closes the buffer.
pub struct Attached {
    hub: Hub,
    key: Key,
    receiver: Receiver<Waiting>,
    expires: Instant,
}

impl Default for Hub {
    fn default() -> Self {
        let buffers = Buffers { of: HashMap::new(), swept: Instant::now(), bytes: Arc::default() };
        Self { buffers: Arc::new(Mutex::new(buffers)) }
    }
}

impl Hub {
    /// Attaches a party to a session, for `time_to_live` at most. `None` if it is attached already, or if there are too
    /// many sessions.
    #[must_use]
    pub fn attach(&self, session: SessionId, party: PartyIndex, time_to_live: Duration) -> Option<Attached> {
        let key = (session, party);
        let expires = Instant::now() + time_to_live;
        let receiver = self.with_buffer(key, time_to_live, |buffer, _| {
            buffer.expires = expires;
            let (sender, receiver) = match std::mem::replace(&mut buffer.state, State::Left) {
                State::Waiting(sender, receiver) => (sender, receiver),
                State::Left => channel(FRAMES),
                attached @ State::Attached(_) => {
                    buffer.state = attached;
                    return None;
                }
            };
            buffer.state = State::Attached(sender);
            Some(receiver)
        })??;
        Some(Attached { hub: self.clone(), key, receiver, expires })
    }

    /// Puts a frame into a party's buffer; false if there was no room.
    pub fn send(&self, session: SessionId, to: PartyIndex, frame: Bytes, time_to_live: Duration) -> bool {
        self.with_buffer((session, to), time_to_live, |buffer, all| match &buffer.state {
            State::Waiting(sender, _) | State::Attached(sender) => {
                let waiting = Waiting::new(frame, [Arc::clone(&buffer.bytes), Arc::clone(all)]);
                waiting.is_some_and(|waiting| sender.try_send(waiting).is_ok())
            }
            State::Left => true,
        })
        .unwrap_or(false)
    }

    fn with_buffer<T>(
        &self,
        key: Key,
        time_to_live: Duration,
        act: impl FnOnce(&mut Buffer, &Arc<AtomicUsize>) -> T,
    ) -> Option<T> {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now >= buffers.swept + SWEEP {
            buffers.sweep(now);
        }
        if !buffers.of.contains_key(&key) {
            if buffers.of.len() >= BUFFERS {
                buffers.sweep(now);
            }
            if buffers.of.len() >= BUFFERS {
                return None;
            }
            let (sender, receiver) = channel(FRAMES);
            let state = State::Waiting(sender, receiver);
            buffers.of.insert(key, Buffer { state, expires: now + time_to_live, bytes: Arc::default() });
        }
        let Buffers { of, bytes, .. } = &mut *buffers;
        of.get_mut(&key).map(|buffer| act(buffer, bytes))
    }
}

impl Buffers {
    /// An attached party keeps its buffer past its time: it lets go of it by itself.
    fn sweep(&mut self, now: Instant) {
        self.swept = now;
        self.of.retain(|_, buffer| buffer.expires > now || matches!(buffer.state, State::Attached(_)));
    }
}

impl Attached {
    /// The next frame; `None` when the session's time is over. May be cancelled without losing one.
    pub async fn receive(&mut self) -> Option<Bytes> {
        let waiting = tokio::time::timeout_at(self.expires, self.receiver.recv()).await.ok()??;
        Some(waiting.frame.clone())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut buffers = self.hub.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buffer) = buffers.of.get_mut(&self.key) {
            buffer.state = State::Left;
        }
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
        assert!(hub.send(session, party, Bytes::from_static(&[1]), SOON));
        let mut attached = hub.attach(session, party, SOON).unwrap();
        assert!(hub.send(session, party, Bytes::from_static(&[2]), SOON));
        assert_eq!(attached.receive().await.unwrap()[..], [1]);
        assert_eq!(attached.receive().await.unwrap()[..], [2]);
        assert!(hub.attach(session, party, SOON).is_none(), "two hold one buffer");
        drop(attached);
        assert!(hub.send(session, party, Bytes::from_static(&[3]), SOON));
        let mut again = hub.attach(session, party, SOON).unwrap();
        assert!(hub.send(session, party, Bytes::from_static(&[4]), SOON));
        assert_eq!(again.receive().await.unwrap()[..], [4], "what came for nobody was kept");
    }

    #[tokio::test]
    async fn buffers_and_their_number_are_bounded() {
        let (hub, (session, party)) = (Hub::default(), key());
        let taken =
            (0..FRAMES * 2).filter(|_| hub.send(session, party, Bytes::from_static(&[1]), SOON)).count();
        assert_eq!(taken, FRAMES);
        let large = Bytes::from(vec![0; 3 << 20]);
        let other = SessionId([9; 32]);
        let taken = (0..10).filter(|_| hub.send(other, party, large.clone(), SOON)).count();
        assert_eq!(taken, BUFFER_BYTES / large.len());
        let mut attached = hub.attach(other, party, SOON).unwrap();
        attached.receive().await.unwrap();
        assert!(hub.send(other, party, large, SOON), "what was taken still counts");
        let sessions = |hub: &Hub, from: usize, ttl| {
            (from..from + BUFFERS)
                .filter(|i| {
                    let mut id = [2; 32];
                    id[..8].copy_from_slice(&(*i as u64).to_be_bytes());
                    hub.send(SessionId(id), party, Bytes::from_static(&[1]), ttl)
                })
                .count()
        };
        assert_eq!(sessions(&hub, 0, SOON), BUFFERS - 2);
        assert_eq!(sessions(&hub, BUFFERS, SOON), 0);
        // Sessions whose time is over give their room to others.
        let over = Hub::default();
        assert_eq!(sessions(&over, 0, Duration::ZERO), BUFFERS);
        assert_eq!(sessions(&over, BUFFERS, SOON), BUFFERS);
    }
}
