//! The parties of a session and its deadline.

use super::waiting_room::WaitingRoom;
use crate::identity::{PublicKey, key_of};
use crate::ids::{DatabaseId, PlanHash};
use crate::{PartyIndex, Threshold, UnixMillis};

/// The parties of a session and its deadline, all of it admitted ([`admission`](crate::admission)).
#[derive(Clone, Debug)]
pub struct SessionTerms {
    /// The plan.
    pub plan: PlanHash,
    /// This party.
    pub me: PartyIndex,
    /// Ascending and unique, `me` among them.
    pub signers: Vec<PartyIndex>,
    /// t of n.
    pub threshold: Threshold,
    /// The identity keys of all n parties, in index order.
    pub parties: Vec<PublicKey>,
    /// When the session ends.
    pub deadline: UnixMillis,
    /// This party's durable state counter.
    pub counter: u64,
    /// The database that its state is in.
    pub database: DatabaseId,
    /// Bytes of the longest message, or part of one, that the plugin says it sends.
    pub longest_message: usize,
    /// The most parts of a message. A round has one message of each kind from each peer.
    pub message_parts: usize,
    /// Where messages of peers wait, in all sessions of this party.
    pub waiting_room: WaitingRoom,
}

impl SessionTerms {
    pub(super) fn peers(&self) -> impl Iterator<Item = PartyIndex> + '_ {
        self.signers.iter().copied().filter(|&party| party != self.me)
    }

    pub(super) fn key_of_peer(&self, party: PartyIndex) -> Option<&PublicKey> {
        let is_peer = party != self.me && self.signers.contains(&party);
        key_of(&self.parties, party).filter(|_| is_peer)
    }
}
