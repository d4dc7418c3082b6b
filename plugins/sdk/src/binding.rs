//! Context for libraries that have no slot for it.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{Failure, PartyIndex, Roster};

/// Binds payloads to one session and one message type, for libraries whose own messages carry neither (FROST's
/// key generation, for one): each payload is prefixed by
/// `SHA-256("quorate payload 1" ‖ execution id ‖ round ‖ message type ‖ sender)`, and any other prefix is a
/// fault of the sender. So a message of another session, type or party is never handed to the library.
#[derive(Clone, Debug)]
pub struct Binding {
    execution_id: [u8; 32],
}

const PREFIX: usize = 32;

impl Binding {
    /// The binding of one session.
    #[must_use]
    pub fn new(roster: &Roster) -> Self {
        Self { execution_id: *roster.execution_id() }
    }

    /// Prefixes a payload that `sender` sends.
    #[must_use]
    pub fn seal(&self, round: u16, kind: &str, sender: PartyIndex, payload: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(PREFIX + payload.len()));
        bytes.extend_from_slice(&self.prefix(round, kind, sender));
        bytes.extend_from_slice(payload);
        bytes
    }

    /// Checks and removes the prefix of a payload that came from `sender`.
    ///
    /// # Errors
    /// A fault of the sender.
    pub fn open(
        &self,
        round: u16,
        kind: &str,
        sender: PartyIndex,
        payload: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        payload
            .strip_prefix(&self.prefix(round, kind, sender))
            .map(|rest| Zeroizing::new(rest.to_vec()))
            .ok_or_else(|| Failure::fault(sender, format!("a {kind} bound to something else")))
    }

    fn prefix(&self, round: u16, kind: &str, sender: PartyIndex) -> [u8; PREFIX] {
        let mut hash = Sha256::new();
        hash.update(b"quorate payload 1");
        hash.update(self.execution_id);
        hash.update(round.to_be_bytes());
        // The length keeps `kind` from running into the sender.
        hash.update((kind.len() as u64).to_be_bytes());
        hash.update(kind);
        hash.update(sender.number().to_be_bytes());
        hash.finalize().into()
    }
}
