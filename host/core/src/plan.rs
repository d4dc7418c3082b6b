//! Plans: what the coordinator adds to an order. It is trusted with none of it: every party checks the plan against the
//! order and against what it knows itself (rule 2, [`admission`](crate::admission)).

use crate::abort::SignedAbort;
use crate::certificate::Certificate;
use crate::codec::{encode, wire_struct};
use crate::ids::{Digest, PlanHash, SessionId, hash};
use crate::order::SignedOrder;
use crate::{PartyIndex, UnixMillis};

/// A plan for one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The order that it carries out.
    pub order: SignedOrder,
    /// The parties of the session, ascending and unique.
    pub signers: Vec<PartyIndex>,
    /// The component that all of them run.
    pub digest: Digest,
    /// The presignature to use, by its name.
    pub presignature: Option<String>,
    /// The certificate that made the account's current shares active. A party that has promised its share and has not
    /// heard more rolls forward with it (rule 9).
    pub certificate: Option<Certificate>,
    /// Parties' word that they have ended earlier sessions of the account without a promise: it frees parties
    /// whose promise can't be completed (rule 9).
    pub aborts: Vec<SignedAbort>,
    /// Random: tells the sessions of one order apart.
    pub nonce: [u8; 32],
    /// When the session ends.
    pub deadline: UnixMillis,
}

wire_struct!(Plan { order, signers, digest, presignature, certificate, aborts, nonce, deadline });

impl Plan {
    /// The hash of the whole plan, to which every signer commits in its hello.
    #[must_use]
    pub fn hash(&self) -> PlanHash {
        PlanHash(hash("quorate 1 plan", &[&encode(self)]))
    }

    /// H(order ‖ plan nonce).
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        SessionId(hash("quorate 1 session", &[self.order.bytes(), &self.nonce]))
    }
}
