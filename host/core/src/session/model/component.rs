//! A component for the model: three rounds that use every kind of delivery, and an outcome that depends on every
//! message.

use std::collections::BTreeMap;

use crate::PartyIndex;
use crate::envelope::PayloadKind;
use crate::ids::{ExecutionId, hash};
use crate::session::{Message, To};

/// The messages that the component sends.
pub(super) type Out = Vec<(u16, To, Vec<u8>)>;

/// Round 1: a word to each. Round 2: a word to all, reliably. Round 3: the hash of all words of round 2, to all.
pub(super) struct Component {
    execution: ExecutionId,
    me: PartyIndex,
    peers: Vec<PartyIndex>,
    got: BTreeMap<(u16, PartyIndex), Vec<u8>>,
    round: u16,
    own_word: Vec<u8>,
}

impl Component {
    pub(super) fn start(execution: ExecutionId, me: PartyIndex, peers: Vec<PartyIndex>) -> (Self, Out) {
        let word = |to: PartyIndex| {
            let numbers = [me.number().to_be_bytes(), to.number().to_be_bytes()].concat();
            hash("word", &[execution.as_bytes(), &numbers]).to_vec()
        };
        let out = peers.iter().map(|&to| (1, To::Party(to), word(to))).collect();
        let own_word = word(me);
        (Self { execution, me, peers, got: BTreeMap::new(), round: 1, own_word }, out)
    }

    /// Takes a message; gives what to send and, at the end, the outcome.
    ///
    /// # Panics
    /// When a message comes twice, in a wrong round or of a wrong kind: the session must not let that happen.
    pub(super) fn step(&mut self, message: Message) -> (Out, Option<[u8; 32]>) {
        let Message { round, from, kind, payload, .. } = message;
        let expected = [PayloadKind::PointToPoint, PayloadKind::ReliableBroadcast, PayloadKind::Broadcast]
            [usize::from(round) - 1];
        assert_eq!(kind, expected, "round {round}");
        assert!((self.round..=self.round + 1).contains(&round), "round {round} in round {}", self.round);
        let before = self.got.insert((round, from), payload.to_vec());
        assert_eq!(before, None, "delivered twice");
        let mut out = Out::new();
        let mut outcome = None;
        while self.complete() {
            match self.round {
                1 => out.push((2, To::ReliableBroadcast, self.own_word.clone())),
                2 => out.push((3, To::Broadcast, self.words().to_vec())),
                _ => outcome = Some(self.outcome()),
            }
            self.round += 1;
        }
        (out, outcome)
    }

    fn complete(&self) -> bool {
        self.round <= 3 && self.peers.iter().all(|&peer| self.got.contains_key(&(self.round, peer)))
    }

    /// The hash of all words of round 2, in index order.
    fn words(&self) -> [u8; 32] {
        let mut words: BTreeMap<PartyIndex, &[u8]> =
            self.peers.iter().map(|&peer| (peer, self.got[&(2, peer)].as_slice())).collect();
        words.insert(self.me, &self.own_word);
        let words: Vec<&[u8]> = words.into_values().collect();
        hash("words", &words)
    }

    fn outcome(&self) -> [u8; 32] {
        for &peer in &self.peers {
            // The component does not compare what the others received: reliable broadcast alone must make the
            // outcomes equal.
            assert!(!self.got[&(3, peer)].is_empty());
        }
        hash("outcome", &[self.execution.as_bytes(), &self.words()])
    }
}
