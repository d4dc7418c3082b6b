//! Messages by round: what may come, what is complete, what is too early.
//!
//! Invariants: every message handed to a protocol is of its declared round and delivery kind, from a peer of
//! this session, the only one of its kind from that peer, and decoded without a byte left over. A round is
//! handed over only when it is complete.

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{Delivery, Failure, Incoming, Outgoing, PartyIndex, Recipient, Roster, decode, encode};

/// A message type of one protocol run. Within a run, a round has at most one type per delivery kind.
pub trait Message: Serialize + DeserializeOwned {
    /// The round it belongs to, from 1.
    const ROUND: u16;
    /// How it travels.
    const DELIVERY: Delivery;
    /// The most bytes that an honest sender's message has. A longer one is refused before it is kept or decoded: what
    /// decodes to lists of points takes many times its size in memory.
    const MAX_BYTES: usize;

    /// Whether sender and receiver named inside the message are those of its envelope. A type that names
    /// neither keeps the default.
    fn is_between(&self, from: PartyIndex, to: PartyIndex) -> bool {
        let _ = (from, to);
        true
    }
}

/// Where a message type belongs: its round and delivery kind, and how long it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    round: u16,
    delivery: Delivery,
    max_bytes: usize,
}

impl Slot {
    /// The slot of a message type.
    #[must_use]
    pub const fn of<M: Message>() -> Self {
        Self { round: M::ROUND, delivery: M::DELIVERY, max_bytes: M::MAX_BYTES }
    }

    /// A slot for message types that are not [`Message`]s, as those of `round-based` libraries.
    #[must_use]
    pub const fn new(round: u16, delivery: Delivery, max_bytes: usize) -> Self {
        Self { round, delivery, max_bytes }
    }

    /// The round, from 1.
    #[must_use]
    pub const fn round(self) -> u16 {
        self.round
    }

    /// The delivery kind.
    #[must_use]
    pub const fn delivery(self) -> Delivery {
        self.delivery
    }

    /// The most bytes of an honest sender's message.
    #[must_use]
    pub const fn max_bytes(self) -> usize {
        self.max_bytes
    }

    fn key(self) -> Key {
        (self.round, self.delivery)
    }
}

type Payload = Zeroizing<Vec<u8>>;

/// The key of a slot.
type Key = (u16, Delivery);

/// Collects messages until a round is complete.
pub struct Mailbox {
    me: PartyIndex,
    peers: Vec<PartyIndex>,
    schedule: Vec<Slot>,
    round: u16,
    held: BTreeMap<(Key, PartyIndex), Payload>,
}

impl Mailbox {
    /// A mailbox for a run whose messages are those of `schedule`, standing at its first round.
    #[must_use]
    pub fn new(roster: &Roster, schedule: &[Slot]) -> Self {
        Self {
            me: roster.me(),
            peers: roster.peers().collect(),
            schedule: schedule.to_vec(),
            round: schedule.iter().map(|slot| slot.round).min().unwrap_or(1),
            held: BTreeMap::new(),
        }
    }

    /// Takes in one message of the current round or the next.
    ///
    /// # Errors
    /// A fault of the sender when the message has no place here.
    pub fn accept(&mut self, message: Incoming) -> Result<(), Failure> {
        let Incoming { round, from, delivery, payload } = message;
        if !self.peers.contains(&from) {
            // The host authenticates senders: it would be its bug, not a peer's fault.
            return Err(Failure::Internal(format!("message from {from}, who takes no part").into()));
        }
        let Some(slot) = self.schedule.iter().find(|s| s.key() == (round, delivery)) else {
            return Err(Failure::fault(from, format!("no {delivery:?} belongs to round {round}")));
        };
        if payload.len() > slot.max_bytes {
            return Err(Failure::fault(
                from,
                format!("a message of {} bytes in round {round}", payload.len()),
            ));
        }
        // A peer can be one round ahead: it has everything of ours that our current round needs.
        if round < self.round || round > self.round.saturating_add(1) {
            return Err(Failure::fault(from, format!("a message of round {round} in round {}", self.round)));
        }
        if self.held.insert((slot.key(), from), payload).is_some() {
            return Err(Failure::fault(from, format!("a second {delivery:?} in round {round}")));
        }
        Ok(())
    }

    /// The current round, once every peer's messages of it are here.
    #[must_use]
    pub fn complete(&self) -> Option<u16> {
        let mut slots = self.schedule.iter().filter(|s| s.round == self.round).peekable();
        slots.peek()?;
        slots
            .all(|&slot| self.peers.iter().all(|&peer| self.held.contains_key(&(slot.key(), peer))))
            .then_some(self.round)
    }

    /// Hands over the current round's messages and moves on to the next.
    #[must_use]
    pub fn take_round(&mut self) -> Inbox {
        let later = (self.round + 1, Delivery::PointToPoint);
        let rest = self.held.split_off(&(later, PartyIndex::FIRST));
        let messages = std::mem::replace(&mut self.held, rest);
        self.round += 1;
        Inbox { me: self.me, messages }
    }
}

/// All messages of one complete round.
pub struct Inbox {
    me: PartyIndex,
    messages: BTreeMap<(Key, PartyIndex), Payload>,
}

impl Inbox {
    /// Takes every peer's message of one type, by sender.
    ///
    /// # Errors
    /// A fault of the first sender whose message does not decode or names other parties than its envelope.
    pub fn take<M: Message>(&mut self) -> Result<BTreeMap<PartyIndex, M>, Failure> {
        self.take_raw(Slot::of::<M>())
            .map(|(from, payload)| {
                let message: M =
                    decode(&payload).ok_or_else(|| Failure::fault(from, "a message that does not decode"))?;
                if !message.is_between(from, self.me) {
                    return Err(Failure::fault(from, "a message that names other parties"));
                }
                Ok((from, message))
            })
            .collect()
    }

    /// Takes every peer's undecoded message of one slot, by sender.
    pub fn take_raw(&mut self, slot: Slot) -> impl Iterator<Item = (PartyIndex, Payload)> + use<> {
        let mut taken = Vec::new();
        self.messages.retain(|&(key, from), payload| {
            if key == slot.key() {
                taken.push((from, std::mem::take(payload)));
            }
            key != slot.key()
        });
        taken.into_iter()
    }
}

/// Messages to send at the end of a step.
#[derive(Default)]
pub struct Outbox {
    messages: Vec<Outgoing>,
}

impl Outbox {
    /// Sends a point-to-point message.
    ///
    /// # Errors
    /// [`Failure::Internal`] when `M` is not declared point-to-point.
    pub fn send<M: Message>(&mut self, to: PartyIndex, message: &M) -> Result<(), Failure> {
        match M::DELIVERY {
            Delivery::PointToPoint => self.push::<M>(Recipient::Party(to), message),
            _ => Err(Failure::Internal("a broadcast was sent to one party".into())),
        }
    }

    /// Sends a broadcast of the declared kind.
    ///
    /// # Errors
    /// [`Failure::Internal`] when `M` is declared point-to-point.
    pub fn broadcast<M: Message>(&mut self, message: &M) -> Result<(), Failure> {
        match M::DELIVERY {
            Delivery::Broadcast => self.push::<M>(Recipient::Broadcast, message),
            Delivery::ReliableBroadcast => self.push::<M>(Recipient::ReliableBroadcast, message),
            Delivery::PointToPoint => Err(Failure::Internal("a point-to-point message was broadcast".into())),
        }
    }

    /// Sends bytes that another layer has encoded.
    pub fn push_raw(&mut self, message: Outgoing) {
        self.messages.push(message);
    }

    /// Everything sent so far.
    #[must_use]
    pub fn into_messages(self) -> Vec<Outgoing> {
        self.messages
    }

    fn push<M: Message>(&mut self, to: Recipient, message: &M) -> Result<(), Failure> {
        let payload = encode(message)?;
        self.messages.push(Outgoing { round: M::ROUND, to, payload });
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ONE: Slot = Slot::new(1, Delivery::PointToPoint, 4);
    const TWO: Slot = Slot::new(2, Delivery::Broadcast, 4);
    const THREE: Slot = Slot::new(3, Delivery::ReliableBroadcast, 4);

    fn mailbox() -> Mailbox {
        let roster = Roster::new(1, &[1, 2, 3], 3, 2, &[0; 32], &[0; 32]).unwrap();
        Mailbox::new(&roster, &[ONE, TWO, THREE])
    }

    fn message(slot: Slot, from: u16, bytes: usize) -> Incoming {
        Incoming {
            round: slot.round,
            from: PartyIndex::new(from).unwrap(),
            delivery: slot.delivery,
            payload: vec![u8::try_from(from).unwrap(); bytes].into(),
        }
    }

    fn assert_fault(mailbox: &mut Mailbox, bad: Incoming) {
        let from = bad.from;
        match mailbox.accept(bad).unwrap_err() {
            Failure::Fault { culprits, ban: false, .. } => assert_eq!(culprits, [from]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_round_is_handed_over_once_it_is_complete_and_early_messages_wait() {
        let mut mailbox = mailbox();
        mailbox.accept(message(ONE, 2, 1)).unwrap();
        mailbox.accept(message(TWO, 2, 2)).unwrap();
        assert_eq!(mailbox.complete(), None);
        mailbox.accept(message(ONE, 3, 1)).unwrap();
        assert_eq!(mailbox.complete(), Some(1));
        let mut inbox = mailbox.take_round();
        assert_eq!(inbox.take_raw(ONE).count(), 2);
        assert_eq!(inbox.take_raw(TWO).count(), 0, "an early message was handed over");
        mailbox.accept(message(TWO, 3, 2)).unwrap();
        assert_eq!(mailbox.complete(), Some(2));
        let early: Vec<_> =
            mailbox.take_round().take_raw(TWO).map(|(from, p)| (from.number(), p.len())).collect();
        assert_eq!(early, [(2, 2), (3, 2)]);
    }

    #[test]
    fn what_has_no_place_is_a_fault_of_its_sender() {
        let mut mailbox = mailbox();
        assert_fault(&mut mailbox, message(THREE, 2, 1));
        assert_fault(&mut mailbox, message(Slot::new(4, Delivery::Broadcast, 4), 2, 1));
        assert_fault(&mut mailbox, message(Slot::new(0, Delivery::Broadcast, 4), 2, 1));
        assert_fault(&mut mailbox, message(Slot::new(1, Delivery::Broadcast, 4), 2, 1));
        assert_fault(&mut mailbox, message(ONE, 2, 5));
        mailbox.accept(message(ONE, 2, 4)).unwrap();
        assert_fault(&mut mailbox, message(ONE, 2, 4));
        mailbox.accept(message(ONE, 3, 1)).unwrap();
        let _ = mailbox.take_round();
        assert_fault(&mut mailbox, message(ONE, 3, 1));
    }

    #[test]
    fn a_stranger_is_the_hosts_bug_and_nobodys_fault() {
        let stranger = message(ONE, 7, 1);
        assert!(matches!(mailbox().accept(stranger), Err(Failure::Internal(_))));
        let myself = message(ONE, 1, 1);
        assert!(matches!(mailbox().accept(myself), Err(Failure::Internal(_))));
    }
}
