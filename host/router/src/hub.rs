//! Buffers of frames, one per session and party.
//!
//! A frame for a party that is not attached waits: the party may be about to come, or to come back. A buffer that is
//! full takes nothing more: the parties send again what was lost. A party that has left gets nothing more; the buffer
//! itself is gone when the session's time is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use quorate_core::identity::PublicKey;
use quorate_core::{PartyIndex, SessionId, Threshold};
use quorate_net::router_client::RouterEvent;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

/// Frames that wait for one party of one session. A keygen of 16 parties sends each about 150, and sends them again
/// every two seconds while nothing moves.
const MAX_BUFFERED_FRAMES: usize = 512;

/// Bytes that wait for one party of one session. A round of a keygen of 16 parties is 15 times 143 kB, and frames
/// that are sent again come on top.
const MAX_BUFFER_BYTES: usize = 16 << 20;

/// Bytes of one party's frames that wait in all buffers, over all sessions: a party whose frames nobody takes leaves room
/// for the others. Twice what a keygen of 16 parties may have in one of its rounds.
const MAX_SENDER_BYTES: usize = 64 << 20;

/// Bytes that wait in all buffers. What comes beyond that is lost, and sent again.
const MAX_TOTAL_BYTES: usize = 512 << 20;

/// Buffers at a time, of parties that were there a while ago too. At 60 signatures a second, with two signers and a
/// deadline of 10 seconds, there are 1,200.
const MAX_BUFFERS: usize = 4_096;

/// How long frames are kept for parties that are not attached, at most: no order lives longer.
pub(super) const MAX_TIME_TO_LIVE: Duration = Duration::from_secs(600);

/// How often buffers whose time is over are looked for.
const BUFFER_SWEEP_INTERVAL: Duration = Duration::from_secs(1);

type BufferKey = (SessionId, PartyIndex);

/// Who has sent a frame to this router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameSource {
    /// A party, by the identity key with which it has joined.
    Party(PublicKey),
    /// Another router, for a party that has joined there.
    OtherRouters,
}

/// All buffers of a router. Clones share them.
#[derive(Clone)]
pub struct Hub {
    buffers: Arc<Mutex<Buffers>>,
}

struct Buffers {
    of: HashMap<BufferKey, Buffer>,
    swept: Instant,
    /// Attachments so far.
    attachments: u64,
    /// Bytes that wait in all of them.
    bytes: Arc<AtomicUsize>,
    /// Bytes that wait in all of them, by who has sent them.
    by_source: HashMap<FrameSource, Arc<AtomicUsize>>,
}

/// Something in a buffer, counted for as long as it waits.
struct Waiting {
    event: RouterEvent,
    bytes: usize,
    counted: Vec<Arc<AtomicUsize>>,
}

impl Waiting {
    /// News of a party, which is no longer than its index.
    fn news(event: RouterEvent) -> Self {
        Self { event, bytes: 0, counted: Vec::new() }
    }

    /// A frame, counted in each of these, which have a most; `None` if there is no room for it.
    fn frame(frame: Bytes, counts: [(&Arc<AtomicUsize>, usize); 3]) -> Option<Self> {
        let bytes = frame.len();
        // No other frame is counted meanwhile: the buffers are locked.
        let is_room = |(count, most): &(&Arc<AtomicUsize>, usize)| {
            count.load(Ordering::Relaxed).saturating_add(bytes) <= *most
        };
        if !counts.iter().all(is_room) {
            return None;
        }
        let counted = counts.map(|(count, _)| {
            count.fetch_add(bytes, Ordering::Relaxed);
            Arc::clone(count)
        });
        Some(Self { event: RouterEvent::Frame(frame), bytes, counted: counted.into() })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for count in &self.counted {
            count.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

struct Buffer {
    state: BufferState,
    expires: Instant,
    bytes: Arc<AtomicUsize>,
}

enum BufferState {
    /// Frames wait for a party that has not come yet.
    Waiting(Sender<Waiting>, Receiver<Waiting>),
    /// The sender, and which attachment it is for: a party that comes back takes the place of its old connection.
    Attached(Sender<Waiting>, u64),
    /// The party has left: what still comes for it is thrown away.
    Left,
}

/// A party's hold on its buffer. After it was dropped, what comes waits until the party comes back.
pub struct Attached {
    hub: Hub,
    key: BufferKey,
    receiver: Receiver<Waiting>,
    expires: Instant,
    number: u64,
}

/// The result of sending a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way to the party, or of no more use to it.
    Delivered,
    /// It waits here for a party that is not attached here.
    Queued,
    /// There was no room for it.
    Dropped,
}

impl Default for Hub {
    fn default() -> Self {
        let buffers = Buffers {
            of: HashMap::new(),
            swept: Instant::now(),
            attachments: 0,
            bytes: Arc::default(),
            by_source: HashMap::new(),
        };
        Self { buffers: Arc::new(Mutex::new(buffers)) }
    }
}

impl Hub {
    /// Attaches a party to a session, for `time_to_live` at most; an attachment from before ends. `None` if there are
    /// too many sessions.
    #[must_use]
    pub fn attach(&self, session: SessionId, party: PartyIndex, time_to_live: Duration) -> Option<Attached> {
        let key = (session, party);
        let expires = Instant::now() + time_to_live;
        let number = {
            let mut buffers = self.lock();
            buffers.attachments += 1;
            buffers.attachments
        };
        let receiver = self.with_buffer(key, time_to_live, |buffer, _, _| {
            buffer.expires = expires;
            let (sender, receiver) = match std::mem::replace(&mut buffer.state, BufferState::Left) {
                BufferState::Waiting(sender, receiver) => (sender, receiver),
                BufferState::Left | BufferState::Attached(..) => channel(MAX_BUFFERED_FRAMES),
            };
            buffer.state = BufferState::Attached(sender, number);
            receiver
        })?;
        self.lock().tell_others(&key, &RouterEvent::PeerReconnected(party));
        Some(Attached { hub: self.clone(), key, receiver, expires, number })
    }

    /// Tells the parties of a session that are attached here that one is back, at another router.
    pub fn announce_return(&self, session: SessionId, party: PartyIndex) {
        self.lock().tell_others(&(session, party), &RouterEvent::PeerReconnected(party));
    }

    /// Marks a party as one that needs nothing more of a session.
    pub fn leave(&self, session: SessionId, party: PartyIndex) {
        if let Some(buffer) = self.lock().of.get_mut(&(session, party)) {
            buffer.state = BufferState::Left;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Buffers> {
        self.buffers.lock()
    }

    /// Puts a frame into a party's buffer.
    pub fn send(
        &self,
        from: FrameSource,
        (session, to): (SessionId, PartyIndex),
        frame: Bytes,
        time_to_live: Duration,
    ) -> Sent {
        let sent = self.with_buffer((session, to), time_to_live, |buffer, all, by_source| {
            let (sender, sent) = match &buffer.state {
                BufferState::Waiting(sender, _) => (sender, Sent::Queued),
                BufferState::Attached(sender, _) => (sender, Sent::Delivered),
                BufferState::Left => return Sent::Delivered,
            };
            let of_source = by_source.entry(from).or_default();
            let counts =
                [(&buffer.bytes, MAX_BUFFER_BYTES), (&*of_source, MAX_SENDER_BYTES), (all, MAX_TOTAL_BYTES)];
            let waiting = Waiting::frame(frame, counts);
            match waiting.map(|waiting| sender.try_send(waiting)) {
                Some(Ok(())) => sent,
                _ => Sent::Dropped,
            }
        });
        sent.unwrap_or(Sent::Dropped)
    }

    fn with_buffer<T>(
        &self,
        key: BufferKey,
        time_to_live: Duration,
        act: impl FnOnce(&mut Buffer, &Arc<AtomicUsize>, &mut HashMap<FrameSource, Arc<AtomicUsize>>) -> T,
    ) -> Option<T> {
        let mut buffers = self.buffers.lock();
        let now = Instant::now();
        if now >= buffers.swept + BUFFER_SWEEP_INTERVAL {
            buffers.sweep(now);
        }
        if !buffers.of.contains_key(&key) {
            if buffers.of.len() >= MAX_BUFFERS {
                buffers.sweep(now);
            }
            if buffers.of.len() >= MAX_BUFFERS {
                return None;
            }
            let (sender, receiver) = channel(MAX_BUFFERED_FRAMES);
            let state = BufferState::Waiting(sender, receiver);
            buffers.of.insert(key, Buffer { state, expires: now + time_to_live, bytes: Arc::default() });
        }
        let Buffers { of, bytes, by_source, .. } = &mut *buffers;
        of.get_mut(&key).map(|buffer| act(buffer, bytes, by_source))
    }
}

impl Buffers {
    /// Tells the parties of a session that are attached here of one of them. A party whose buffer is full misses it.
    fn tell_others(&self, key: &BufferKey, event: &RouterEvent) {
        let &(session, party) = key;
        for other in PartyIndex::all(Threshold::MAX_PARTIES).filter(|&other| other != party) {
            if let Some(Buffer { state: BufferState::Attached(sender, _), .. }) =
                self.of.get(&(session, other))
            {
                let _ = sender.try_send(Waiting::news(event.clone()));
            }
        }
    }

    /// Removes expired buffers. An attached party keeps its buffer past its time: it leaves by itself.
    fn sweep(&mut self, now: Instant) {
        self.swept = now;
        self.of.retain(|_, buffer| buffer.expires > now || matches!(buffer.state, BufferState::Attached(..)));
        self.by_source.retain(|_, bytes| bytes.load(Ordering::Relaxed) > 0);
    }
}

impl Attached {
    /// When the session's time is over.
    #[must_use]
    pub fn expires(&self) -> Instant {
        self.expires
    }

    /// Returns the next event; `None` when the session's time is over, or the party has left or has come back
    /// elsewhere. Cancellation loses nothing.
    pub async fn receive(&mut self) -> Option<RouterEvent> {
        let waiting = tokio::time::timeout_at(self.expires, self.receiver.recv()).await.ok()??;
        Some(waiting.event.clone())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut buffers = self.hub.lock();
        if let Some(buffer) = buffers.of.get_mut(&self.key)
            && matches!(buffer.state, BufferState::Attached(_, number) if number == self.number)
        {
            let (sender, receiver) = channel(MAX_BUFFERED_FRAMES);
            buffer.state = BufferState::Waiting(sender, receiver);
            buffers.tell_others(&self.key, &RouterEvent::PeerDisconnected(self.key.1));
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::identity::SecretKey;

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    fn key() -> (SessionId, PartyIndex) {
        (SessionId([1; 32]), PartyIndex::FIRST)
    }

    fn party_of(seed: u8) -> FrameSource {
        FrameSource::Party(SecretKey::from_seed(&[seed; 32]).public())
    }

    fn frame(byte: u8) -> Bytes {
        Bytes::copy_from_slice(&[byte])
    }

    #[tokio::test]
    async fn frames_wait_for_a_party_that_is_not_attached() {
        let (hub, (session, party)) = (Hub::default(), key());
        let send = |byte| hub.send(party_of(1), (session, party), frame(byte), SOON);
        assert_eq!(send(1), Sent::Queued);
        let mut attached = hub.attach(session, party, SOON).unwrap();
        assert_eq!(send(2), Sent::Delivered);
        assert_eq!(attached.receive().await, Some(RouterEvent::Frame(frame(1))));
        assert_eq!(attached.receive().await, Some(RouterEvent::Frame(frame(2))));
        drop(attached);
        assert_eq!(send(3), Sent::Queued);
        let mut again = hub.attach(session, party, SOON).unwrap();
        let kept = again.receive().await;
        assert_eq!(kept, Some(RouterEvent::Frame(frame(3))), "what came while the party was away was lost");
        hub.leave(session, party);
        assert_eq!(send(4), Sent::Delivered);
        assert!(again.receive().await.is_none(), "a party that has left still gets frames");
    }

    #[tokio::test]
    async fn a_party_that_comes_back_takes_the_place_of_its_old_connection() {
        let (hub, (session, party)) = (Hub::default(), key());
        let mut old = hub.attach(session, party, SOON).unwrap();
        let mut new = hub.attach(session, party, SOON).unwrap();
        assert!(old.receive().await.is_none());
        drop(old);
        assert_eq!(hub.send(party_of(1), (session, party), frame(1), SOON), Sent::Delivered);
        assert_eq!(new.receive().await, Some(RouterEvent::Frame(frame(1))));
    }

    #[tokio::test]
    async fn the_others_hear_of_a_party_that_is_gone_or_back() {
        let (hub, (session, party)) = (Hub::default(), key());
        let other = PartyIndex::try_from(2).unwrap();
        let mut attached = hub.attach(session, party, SOON).unwrap();
        let gone = hub.attach(session, other, SOON).unwrap();
        assert_eq!(attached.receive().await, Some(RouterEvent::PeerReconnected(other)));
        drop(gone);
        assert_eq!(attached.receive().await, Some(RouterEvent::PeerDisconnected(other)));
        let leaving = hub.attach(session, other, SOON).unwrap();
        assert_eq!(attached.receive().await, Some(RouterEvent::PeerReconnected(other)));
        hub.leave(session, other);
        drop(leaving);
        hub.send(party_of(1), (session, party), frame(1), SOON);
        assert_eq!(
            attached.receive().await,
            Some(RouterEvent::Frame(frame(1))),
            "a party that has left is gone"
        );
    }

    #[tokio::test]
    async fn buffers_and_their_number_are_bounded() {
        let (hub, (session, party)) = (Hub::default(), key());
        let taken = (0..MAX_BUFFERED_FRAMES * 2)
            .filter(|_| {
                hub.send(party_of(1), (session, party), Bytes::from_static(&[1]), SOON) != Sent::Dropped
            })
            .count();
        assert_eq!(taken, MAX_BUFFERED_FRAMES);
        let large = Bytes::from(vec![0; 3 << 20]);
        let other = SessionId([9; 32]);
        let taken = (0..10)
            .filter(|_| hub.send(party_of(1), (other, party), large.clone(), SOON) != Sent::Dropped)
            .count();
        assert_eq!(taken, MAX_BUFFER_BYTES / large.len());
        let mut attached = hub.attach(other, party, SOON).unwrap();
        attached.receive().await.unwrap();
        assert_eq!(
            hub.send(party_of(1), (other, party), large, SOON),
            Sent::Delivered,
            "what was taken still counts"
        );
        let sessions = |hub: &Hub, from: usize, ttl| {
            (from..from + MAX_BUFFERS)
                .filter(|i| {
                    let mut id = [2; 32];
                    id[..8].copy_from_slice(&(*i as u64).to_be_bytes());
                    hub.send(party_of(1), (SessionId(id), party), Bytes::from_static(&[1]), ttl)
                        != Sent::Dropped
                })
                .count()
        };
        assert_eq!(sessions(&hub, 0, SOON), MAX_BUFFERS - 2);
        assert_eq!(sessions(&hub, MAX_BUFFERS, SOON), 0);
        // Sessions whose time is over give their room to others.
        let over = Hub::default();
        assert_eq!(sessions(&over, 0, Duration::ZERO), MAX_BUFFERS);
        assert_eq!(sessions(&over, MAX_BUFFERS, SOON), MAX_BUFFERS);
    }

    #[tokio::test]
    async fn a_party_whose_frames_nobody_takes_leaves_room_for_the_others() {
        let (hub, (_, party)) = (Hub::default(), key());
        let large = Bytes::from(vec![0; 4 << 20]);
        let fill = |from: FrameSource, session: u8| {
            let sent = (0..8).map(|_| hub.send(from, (SessionId([session; 32]), party), large.clone(), SOON));
            sent.filter(|sent| *sent != Sent::Dropped).count()
        };
        let taken: usize = (1..=32).map(|session| fill(party_of(1), session)).sum();
        assert_eq!(taken, MAX_SENDER_BYTES / large.len());
        assert_eq!(fill(party_of(2), 40), MAX_BUFFER_BYTES / large.len(), "another party has no room");
        assert_eq!(fill(FrameSource::OtherRouters, 41), MAX_BUFFER_BYTES / large.len());
        // What is taken out gives room again.
        let mut attached = hub.attach(SessionId([1; 32]), party, SOON).unwrap();
        attached.receive().await.unwrap();
        assert_eq!(fill(party_of(1), 42), 1);
    }
}
