//! One stream of envelopes per ordered pair (rule 4): signed, numbered, sealed, and opened once each and in order.

use std::collections::BTreeMap;

use chacha20::ChaCha20Rng;
use zeroize::Zeroizing;

use super::effect::Message;
use super::terms::SessionTerms;
use super::waiting_room::Place;
use crate::PartyIndex;
use crate::abort::{Abort, AbortCode};
use crate::codec::{Bytes, encode};
use crate::envelope::{ENVELOPE_VERSION, Envelope, Header, PayloadKind};
use crate::identity::{SecretKey, Signature};
use crate::ids::ExecutionId;
use crate::payload_sealing::{Ephemeral, Opener, Sealer};

/// How far ahead of the next envelope of a sender one may be that waits. An honest sender is at most a round ahead: two
/// messages, which have six parts in 64 signatures of DKLs23. What is further ahead is sent again.
const REORDER_WINDOW: u32 = 8;

/// Rounds of a session; the longest known protocol has 9. Each has one message per receiver and kind at most, in parts. Echoes
/// that come before their broadcast are kept for these rounds.
pub const MAX_ROUNDS: u16 = 64;

/// The most bytes that one peer may send in a session, all envelopes together. The most that a known protocol sends
/// to one peer is 5.2 MB, in 64 signatures of DKLs23.
const MAX_PEER_BYTES: usize = 16 << 20;

/// The longest payload of any plugin: the sandbox takes no longer message from a component, and sealing adds 48 bytes.
pub(super) const MAX_PAYLOAD_BYTES: usize = (2 << 20) + 48;

/// The streams from and to all peers.
pub(super) struct Streams {
    execution: ExecutionId,
    ephemeral: Ephemeral,
    outgoing: BTreeMap<PartyIndex, OutgoingStream>,
    incoming: BTreeMap<PartyIndex, Incoming>,
}

struct OutgoingStream {
    sealer: Sealer,
    next: u32,
}

struct Incoming {
    opener: Opener,
    next: u32,
    waiting: BTreeMap<u32, (Envelope, Place)>,
    /// Bytes taken in so far.
    bytes: usize,
    /// How many parts of each message have been opened.
    parts: BTreeMap<(u16, PayloadKind), usize>,
    /// The signers do not agree yet on a reliable broadcast of this sender: nothing later is delivered.
    held: bool,
}

/// The messages of one pass: those to deliver now, and reliable broadcasts that wait for echoes.
#[derive(Default)]
pub(super) struct Opened {
    pub(super) messages: Vec<Message>,
    pub(super) reliable: Vec<(Message, Signature)>,
}

/// A payload that goes into an envelope.
#[derive(Clone, Copy)]
pub(super) struct OutgoingPayload<'a> {
    pub(super) round: u16,
    pub(super) kind: PayloadKind,
    pub(super) bytes: &'a [u8],
    /// The sender's signature over a reliable broadcast.
    pub(super) statement: Option<Signature>,
}

impl Streams {
    pub(super) fn new(
        terms: &SessionTerms,
        execution: ExecutionId,
        ephemeral: Ephemeral,
        keys: &BTreeMap<PartyIndex, [u8; 32]>,
        random: &mut ChaCha20Rng,
    ) -> Result<Self, Abort> {
        let mut outgoing = BTreeMap::new();
        let mut incoming = BTreeMap::new();
        for peer in terms.peers() {
            let key = keys.get(&peer).ok_or_else(missing_peer)?;
            let sealer = Sealer::new(execution, terms.me, peer, key, random)
                .map_err(|_| Abort::fault(peer, "an invalid ephemeral key"))?;
            outgoing.insert(peer, OutgoingStream { sealer, next: 0 });
            let opener = Opener::new(execution, peer, terms.me);
            let waiting = BTreeMap::new();
            let stream = Incoming { opener, next: 0, waiting, bytes: 0, parts: BTreeMap::new(), held: false };
            incoming.insert(peer, stream);
        }
        Ok(Self { execution, ephemeral, outgoing, incoming })
    }

    /// Puts a payload into the next envelope to a peer, and signs it. A payload for one party is sealed.
    pub(super) fn seal(
        &mut self,
        terms: &SessionTerms,
        key: &SecretKey,
        to: PartyIndex,
        outgoing: &OutgoingPayload<'_>,
    ) -> Result<Envelope, Abort> {
        let OutgoingPayload { round, kind, bytes, statement } = *outgoing;
        let stream = self.outgoing.get_mut(&to).ok_or_else(missing_peer)?;
        let header = Header {
            version: ENVELOPE_VERSION,
            execution: self.execution,
            from: terms.me,
            to,
            sequence: stream.next,
            round,
            kind,
        };
        stream.next += 1;
        let payload = match kind {
            PayloadKind::PointToPoint => stream
                .sealer
                .seal(bytes, &encode(&header))
                .map_err(|e| Abort::of(AbortCode::Internal, e.to_string()))?,
            PayloadKind::Broadcast | PayloadKind::ReliableBroadcast => bytes.to_vec(),
        };
        Ok(Envelope::sign(header, payload, statement, key))
    }

    /// Takes in an envelope. One that is not a signer's, or belongs to another session or receiver, is dropped, and so
    /// is one that has been here before; two different ones with one number are a fault of their sender.
    pub(super) fn accept(&mut self, terms: &SessionTerms, envelope: Envelope) -> Result<(), Abort> {
        let header = envelope.header;
        let Some(key) = terms.key_of_peer(header.from) else { return Ok(()) };
        if header.execution != self.execution || header.to != terms.me {
            return Ok(());
        }
        let Some(stream) = self.incoming.get_mut(&header.from) else { return Ok(()) };
        if header.sequence < stream.next || header.sequence >= stream.next.saturating_add(REORDER_WINDOW) {
            return Ok(());
        }
        let bytes = envelope.payload.0.len();
        if bytes > MAX_PAYLOAD_BYTES || envelope.verify(key).is_err() {
            return Ok(());
        }
        match stream.waiting.get(&header.sequence) {
            Some((first, _)) if *first != envelope => {
                Err(Abort::fault(header.from, "two different envelopes with one number"))
            }
            Some(_) => Ok(()),
            None => {
                let take = || terms.waiting_room.take(key, bytes);
                let place = match take() {
                    // Later ones would wait for this one, and this one for their room.
                    None if header.sequence == stream.next => {
                        let dropped = stream.waiting.values().map(|(later, _)| later.payload.0.len());
                        stream.bytes = stream.bytes.saturating_sub(dropped.sum());
                        stream.waiting.clear();
                        take()
                    }
                    place => place,
                };
                // What finds no room is sent again.
                let Some(place) = place else { return Ok(()) };
                stream.bytes = stream.bytes.saturating_add(bytes);
                if stream.bytes > MAX_PEER_BYTES || header.round == 0 || header.round > MAX_ROUNDS {
                    return Err(Abort::fault(header.from, "more bytes or rounds than a session has"));
                }
                stream.waiting.insert(header.sequence, (envelope, place));
                Ok(())
            }
        }
    }

    /// Opens what is next, of every sender, up to its next reliable broadcast.
    pub(super) fn open_next(&mut self, terms: &SessionTerms) -> Result<Opened, Abort> {
        let mut opened = Opened::default();
        let reliable_is_plain = terms.signers.len() == 2;
        for (&from, stream) in &mut self.incoming {
            while !stream.held {
                let Some((envelope, place)) = stream.waiting.remove(&stream.next) else { break };
                stream.next += 1;
                let Envelope { header, payload: Bytes(payload), statement, .. } = envelope;
                if statement.is_some() != (header.kind == PayloadKind::ReliableBroadcast) {
                    return Err(Abort::fault(from, "a broadcast statement where none belongs, or none"));
                }
                let payload = match header.kind {
                    PayloadKind::PointToPoint => stream
                        .opener
                        .open(&self.ephemeral, &payload, &encode(&header))
                        .map_err(|_| Abort::fault(from, "a sealed payload that does not open"))?,
                    PayloadKind::Broadcast | PayloadKind::ReliableBroadcast => Zeroizing::new(payload),
                };
                if payload.len() > terms.longest_message {
                    return Err(Abort::fault(from, "a longer message than the protocol has"));
                }
                // What has no place in a component would fill its memory.
                let parts = stream.parts.entry((header.round, header.kind)).or_default();
                *parts += 1;
                if *parts > terms.message_parts {
                    return Err(Abort::fault(from, "more messages of a round than the protocol has"));
                }
                let message = Message { round: header.round, from, kind: header.kind, payload, place };
                match statement {
                    // With two signers no third party could have received another message.
                    Some(statement) if !reliable_is_plain => {
                        stream.held = true;
                        opened.reliable.push((message, statement));
                    }
                    _ => opened.messages.push(message),
                }
            }
        }
        Ok(opened)
    }

    /// Uses the last number towards a peer once more, as only a liar does.
    #[cfg(test)]
    pub(super) fn reuse_last_counter(&mut self, to: PartyIndex) {
        if let Some(stream) = self.outgoing.get_mut(&to) {
            stream.next -= 1;
        }
    }

    /// Goes on delivering what a sender has sent: all signers agree on its reliable broadcast.
    pub(super) fn resume(&mut self, sender: PartyIndex) {
        if let Some(stream) = self.incoming.get_mut(&sender) {
            stream.held = false;
        }
    }
}

fn missing_peer() -> Abort {
    Abort::of(AbortCode::Internal, "the component sends to a party that is not in this session")
}
