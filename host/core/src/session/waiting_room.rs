//! How many bytes of each peer's messages wait at this party, over all sessions: behind earlier ones that are missing, for
//! the echoes of a reliable broadcast, or for the component. A peer can't fill the memory of a party by sending to many
//! sessions at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::identity::PublicKey;

/// The room for messages that wait. Sessions of one process share it: clones are the same room.
#[derive(Clone, Debug)]
pub struct WaitingRoom {
    waiting: Arc<Mutex<HashMap<PublicKey, usize>>>,
    bytes_per_peer: usize,
}

/// A message's place in the room. It is given back when the last clone is dropped.
#[derive(Clone)]
pub struct Place {
    _taken: Option<Arc<Taken>>,
}

struct Taken {
    room: WaitingRoom,
    peer: PublicKey,
    bytes: usize,
}

impl WaitingRoom {
    /// Room for so many bytes of each peer.
    #[must_use]
    pub fn new(bytes_per_peer: usize) -> Self {
        Self { waiting: Arc::default(), bytes_per_peer }
    }

    /// Takes a place for a message; `None` if too many bytes of its sender wait.
    pub(super) fn take(&self, peer: &PublicKey, bytes: usize) -> Option<Place> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = waiting.get(peer).copied().unwrap_or(0);
        let with_it = of_peer.checked_add(bytes).filter(|sum| *sum <= self.bytes_per_peer)?;
        waiting.insert(*peer, with_it);
        Some(Place { _taken: Some(Arc::new(Taken { room: self.clone(), peer: *peer, bytes })) })
    }
}

impl Place {
    /// The place of a message that takes none: it does not come from a peer over a network.
    #[must_use]
    pub fn none() -> Self {
        Self { _taken: None }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut waiting = self.room.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_peer) = waiting.get_mut(&self.peer) {
            *of_peer = of_peer.saturating_sub(self.bytes);
            if *of_peer == 0 {
                waiting.remove(&self.peer);
            }
        }
    }
}

/// Where a message waits is not a part of what it says.
impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_room_for_so_many_bytes_and_gets_it_back() {
        let (first, second) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let room = WaitingRoom::new(10);
        let of_another_session = room.clone();
        let kept = room.take(&first, 6).unwrap();
        assert!(of_another_session.take(&first, 5).is_none());
        assert!(room.take(&second, 10).is_some());
        let copy = kept.clone();
        drop(kept);
        assert!(room.take(&first, 5).is_none(), "a clone still waits");
        drop(copy);
        assert!(room.take(&first, 10).is_some());
        assert!(room.take(&first, usize::MAX).is_none());
        assert!(room.waiting.lock().unwrap().is_empty(), "a refused message leaves no entry");
    }
}
