//! What components say while their sessions run, as parties pass it on. It is shown and decides nothing: a party may say anything of its
//! own component.

use std::collections::{HashMap, VecDeque};

use futures::future::join_all;
use parking_lot::Mutex;
use quorate_backends::queue::Queue;
use quorate_core::SessionId;
use quorate_core::codec::decode;
use quorate_core::event::{ComponentEvent, SignedSessionEvent};
use quorate_core::identity::PublicKey;
use quorate_net::topics::{events_of, listen_to};

/// Sessions of one party whose events are kept: those that were begun last. No party pushes out what another has said.
const MAX_SESSIONS: usize = 512;

/// Events of one session and party that are kept: the latest.
const MAX_EVENTS: usize = 16;

/// The longest announcement, in bytes: far more than an event has.
const MAX_EVENT_BYTES: usize = 1_024;

/// The events of late.
pub(crate) struct SessionEvents {
    parties: Vec<PublicKey>,
    latest: Mutex<HashMap<PublicKey, OfParty>>,
}

#[derive(Default)]
struct OfParty {
    /// In the order in which they came.
    sessions: VecDeque<SessionId>,
    events: HashMap<SessionId, VecDeque<ComponentEvent>>,
}

impl SessionEvents {
    /// Events of these parties only.
    pub(crate) fn new(parties: Vec<PublicKey>) -> Self {
        Self { parties, latest: Mutex::default() }
    }

    /// Listens to all parties, until it is dropped.
    pub(crate) async fn listen(&self, queue: &dyn Queue) {
        // Each has a topic of its own: one that floods it pushes nobody else's events out.
        let topics: Vec<String> = self.parties.iter().map(events_of).collect();
        let take = |payload: Vec<u8>| {
            self.take(&payload);
            std::future::ready(())
        };
        join_all(topics.iter().map(|topic| listen_to(queue, topic, take))).await;
    }

    fn take(&self, payload: &[u8]) {
        let signed = Some(payload).filter(|payload| payload.len() <= MAX_EVENT_BYTES);
        let signed = signed.and_then(|payload| decode::<SignedSessionEvent>(payload).ok());
        let signed = signed.filter(|signed| self.parties.contains(&signed.event.by));
        let Some(signed) = signed.filter(|signed| signed.verify().is_ok()) else {
            tracing::debug!("an event that no party of this deployment has signed");
            return;
        };
        let mut latest = self.latest.lock();
        latest.entry(signed.event.by).or_default().add(signed.event.session, signed.event.event);
    }

    /// What parties say of a session, each in the order in which it said it.
    pub(crate) fn of(&self, session: SessionId) -> Vec<(PublicKey, ComponentEvent)> {
        let latest = self.latest.lock();
        let of_party = |party: &PublicKey| {
            let events = latest.get(party).and_then(|all| all.events.get(&session));
            let party = *party;
            events.into_iter().flatten().map(move |event| (party, *event)).collect::<Vec<_>>()
        };
        self.parties.iter().flat_map(of_party).collect()
    }
}

impl OfParty {
    fn add(&mut self, session: SessionId, event: ComponentEvent) {
        if !self.events.contains_key(&session) {
            if self.sessions.len() >= MAX_SESSIONS
                && let Some(oldest) = self.sessions.pop_front()
            {
                self.events.remove(&oldest);
            }
            self.sessions.push_back(session);
        }
        let events = self.events.entry(session).or_default();
        if events.len() >= MAX_EVENTS {
            events.pop_front();
        }
        events.push_back(event);
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::codec::encode;
    use quorate_core::event::SessionEvent;
    use quorate_core::identity::SecretKey;

    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn session(number: u16) -> SessionId {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        SessionId(id)
    }

    fn told(events: &SessionEvents, by: u8, signer: u8, number: u16, level: u32) {
        let event = ComponentEvent::PoolLevel(level);
        let event = SessionEvent { by: key(by).public(), session: session(number), event };
        events.take(&encode(&event.sign(&key(signer))));
    }

    #[test]
    fn events_are_those_of_pinned_parties_and_the_latest_stay() {
        let events = SessionEvents::new(vec![key(1).public(), key(2).public()]);
        told(&events, 1, 2, 1, 0);
        told(&events, 3, 3, 1, 0);
        events.take(b"something else");
        events.take(&vec![0; MAX_EVENT_BYTES + 1]);
        assert!(events.of(session(1)).is_empty());
        for level in 0..20 {
            told(&events, 1, 1, 1, level);
        }
        told(&events, 2, 2, 1, 99);
        let shown = events.of(session(1));
        assert_eq!(shown.len(), MAX_EVENTS + 1);
        assert_eq!(shown[0], (key(1).public(), ComponentEvent::PoolLevel(4)));
        assert_eq!(shown[MAX_EVENTS], (key(2).public(), ComponentEvent::PoolLevel(99)));
        // One that floods pushes out its own events only.
        for number in 0..600 {
            told(&events, 1, 1, 100 + number, 0);
        }
        assert_eq!(events.of(session(1)), [(key(2).public(), ComponentEvent::PoolLevel(99))]);
        assert_eq!(events.latest.lock()[&key(1).public()].events.len(), MAX_SESSIONS);
    }
}
