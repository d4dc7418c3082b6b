//! Messages on their way out of a component and into one.

use quorate_core::envelope::PayloadKind;
use quorate_core::session::{Message, To};
use zeroize::{Zeroize, Zeroizing};

use crate::bindings::exports::quorate::party::protocol as wit;

/// A message to send. Its payload may carry a share of a secret and is wiped when dropped.
#[derive(Clone)]
pub struct OutgoingMessage {
    /// The sender's round, from 1.
    pub round: u16,
    /// The receivers.
    pub to: To,
    /// The message.
    pub payload: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for OutgoingMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OutgoingMessage(round {}, {:?}, {} bytes)", self.round, self.to, self.payload.len())
    }
}

/// Incoming messages on their way into the guest, wiped once it has its own copy.
pub(crate) struct Arriving(pub(crate) Vec<wit::Incoming>);

impl Arriving {
    pub(crate) fn new(incoming: Vec<Message>) -> Self {
        let messages = incoming.into_iter().map(|mut message| wit::Incoming {
            round: message.round,
            from: message.from.number(),
            kind: match message.kind {
                PayloadKind::PointToPoint => wit::Delivery::PointToPoint,
                PayloadKind::Broadcast => wit::Delivery::Broadcast,
                PayloadKind::ReliableBroadcast => wit::Delivery::ReliableBroadcast,
            },
            payload: std::mem::take(&mut *message.payload),
        });
        Self(messages.collect())
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|message| message.payload.zeroize());
    }
}
