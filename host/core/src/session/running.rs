//! The middle of a session: the component's messages, in both directions.

use super::broadcast::Broadcasts;
use super::effect::{Message, To};
use super::frame::Frame;
use super::streams::{OutgoingPayload, Streams};
use super::terms::SessionTerms;
use crate::PartyIndex;
use crate::abort::Abort;
use crate::codec::encode;
use crate::envelope::{Envelope, PayloadKind, SignedEcho};
use crate::identity::SecretKey;
use crate::ids::ExecutionId;

/// The streams and broadcasts of a session whose hellos are complete.
pub(super) struct RunningState {
    pub(super) execution: ExecutionId,
    pub(super) streams: Streams,
    pub(super) broadcasts: Broadcasts,
}

/// The messages that can be delivered now.
pub(super) struct Deliverable {
    /// Messages for the component, in order.
    pub(super) messages: Vec<Message>,
    /// Echoes for all peers.
    pub(super) echoes: Vec<SignedEcho>,
}

impl RunningState {
    /// Seals what the component sends: the frame for each receiver.
    pub(super) fn seal(
        &mut self,
        terms: &SessionTerms,
        key: &SecretKey,
        round: u16,
        to: To,
        payload: &[u8],
    ) -> Result<Vec<(PartyIndex, Vec<u8>)>, Abort> {
        let (receivers, kind) = match to {
            To::Party(party) => (vec![party], PayloadKind::PointToPoint),
            To::Broadcast => (terms.peers().collect(), PayloadKind::Broadcast),
            To::ReliableBroadcast => (terms.peers().collect(), PayloadKind::ReliableBroadcast),
        };
        let statement = (kind == PayloadKind::ReliableBroadcast)
            .then(|| self.broadcasts.sign_own(terms, key, self.execution, round, payload));
        let outgoing = OutgoingPayload { round, kind, bytes: payload, statement };
        let mut frames = Vec::with_capacity(receivers.len());
        for to in receivers {
            let envelope: Envelope = self.streams.seal(terms, key, to, &outgoing)?;
            frames.push((to, encode(&Frame::Envelope(envelope))));
        }
        Ok(frames)
    }

    /// Opens every message that may be delivered, and signs the echoes that are due.
    pub(super) fn deliverable(
        &mut self,
        terms: &SessionTerms,
        key: &SecretKey,
    ) -> Result<Deliverable, Abort> {
        let (mut messages, mut echoes) = (Vec::new(), Vec::new());
        // Each turn opens what is in order; a reliable broadcast stops its sender's stream until all agree on its
        // round.
        loop {
            let opened = self.streams.open_next(terms)?;
            messages.extend(opened.messages);
            for (message, statement) in opened.reliable {
                self.broadcasts.on_broadcast(terms, self.execution, message, statement)?;
            }
            echoes.extend(self.broadcasts.due_echoes(terms, key, self.execution));
            let agreed = self.broadcasts.take_agreed(terms)?;
            if agreed.is_empty() {
                return Ok(Deliverable { messages, echoes });
            }
            for message in agreed {
                self.streams.resume(message.from);
                messages.push(message);
            }
        }
    }
}
