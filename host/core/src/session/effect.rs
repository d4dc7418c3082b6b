//! The effects that a session asks of its caller.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::waiting_room::Place;
use crate::PartyIndex;
use crate::abort::Abort;
use crate::ban::SignedBan;
use crate::envelope::PayloadKind;
use crate::hello::SignedHello;
use crate::ids::ExecutionId;

/// A message for the component. Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The sender's round.
    pub round: u16,
    /// The sender, by its signature.
    pub from: PartyIndex,
    /// How it travelled.
    pub kind: PayloadKind,
    /// The message.
    pub payload: Zeroizing<Vec<u8>>,
    /// Its place among the messages of its sender that wait.
    pub place: Place,
}

impl core::fmt::Debug for Message {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { round, from, kind, payload, .. } = self;
        write!(f, "Message(round {round}, from {from}, {kind:?}, {} bytes)", payload.len())
    }
}

/// The receivers of a message of the component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum To {
    /// One party; sealed for it.
    Party(PartyIndex),
    /// All other parties, in the clear.
    Broadcast,
    /// All other parties, who compare what they got before it is delivered.
    ReliableBroadcast,
}

/// The caller applies effects one after the other, in the order given. Effects that arise while one is applied go to
/// the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a frame to a peer.
    Send {
        /// The peer.
        to: PartyIndex,
        /// The frame's bytes.
        frame: Vec<u8>,
    },
    /// Start the component.
    Start {
        /// The id of this execution.
        execution: ExecutionId,
        /// The hellos of the peers. What they tell of their state is to be held against what was seen before (rules 3 and 10).
        hellos: BTreeMap<PartyIndex, SignedHello>,
    },
    /// Look at these bans, which a peer or the router has sent: the signatures are not verified.
    Bans(Vec<SignedBan>),
    /// A peer has shown a hello of this party, from this database, with a higher state counter than it has now: this party was set
    /// back to an earlier state, unless its counter has risen since the session began.
    SetBack {
        /// The counter of that hello.
        counter: u64,
    },
    /// Hand a message to the component.
    Deliver(Message),
    /// The session is over without a result. Record that durably, so that this party never promises anything for it;
    /// then send the notices.
    Abort {
        /// Why.
        abort: Abort,
        /// For each peer, the frame that tells it.
        notices: Vec<(PartyIndex, Vec<u8>)>,
    },
}
