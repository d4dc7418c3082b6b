//! Plans: what the coordinator adds to an order. It is trusted with none of it: every party checks the plan against the
//! order and against what it knows itself (rule 2, [`admission`](crate::admission)).

use crate::abort::SignedAbort;
use crate::acknowledgement::ErasureCertificate;
use crate::ban::SignedBan;
use crate::certificate::Certificate;
use crate::codec::{encode, wire_struct};
use crate::ids::{Digest, PlanHash, PoolId, PreparedId, SessionId, hash};
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
    /// For each signer, the pool that its prepared material is taken from; empty if none is used.
    pub pools: Vec<PoolId>,
    /// For each item of the order, the prepared material that it uses; empty if none is used.
    pub prepared: Vec<Option<PreparedId>>,
    /// The parties that help to repair a share, ascending; empty in every other operation.
    pub helpers: Vec<PartyIndex>,
    /// The certificate that made the account's current shares active. A party that has promised its share and has not
    /// heard more rolls forward with it (rule 9).
    pub certificate: Option<Certificate>,
    /// Parties' word that they have ended earlier sessions of the account without a promise: it frees parties
    /// whose promise can't be completed (rule 9).
    pub aborts: Vec<SignedAbort>,
    /// The word of all n parties that the account's current share set is active: the others may be erased.
    pub erasure: Option<ErasureCertificate>,
    /// Bans that parties have decided on this account.
    pub bans: Vec<SignedBan>,
    /// Random: tells the sessions of one order apart.
    pub nonce: [u8; 32],
    /// When the session ends.
    pub deadline: UnixMillis,
}

wire_struct!(Plan {
    order,
    signers,
    digest,
    pools,
    prepared,
    helpers,
    certificate,
    aborts,
    erasure,
    bans,
    nonce,
    deadline,
});

impl Plan {
    /// The prepared material that the plan uses.
    pub fn prepared_ids(&self) -> impl Iterator<Item = PreparedId> {
        self.prepared.iter().copied().flatten()
    }

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
