//! Makes the plan of a session, and the record of it.

use quorate_control_store::NewSession;
use quorate_core::UnixMillis;
use quorate_core::acknowledgement::ErasureCertificate;
use quorate_core::ban::SignedBan;
use quorate_core::code::Code;
use quorate_core::codec::encode;
use quorate_core::plan::Plan;

use super::presignatures::PlannedPresignatures;
use super::quorum::Quorum;
use super::submission::SubmittedOrder;
use super::verdict::Verdict;

/// What plans carry from party to party.
pub(super) struct Carried {
    pub(super) erasure: Option<ErasureCertificate>,
    pub(super) bans: Vec<SignedBan>,
    /// For each item one, if there are some.
    pub(super) presignatures: Option<PlannedPresignatures>,
}

/// The session of a quorum, from `now` to a deadline, and its plan. `attempt` is its number among those of its order.
pub(super) fn new_session(
    request: &SubmittedOrder,
    quorum: Quorum,
    attempt: u32,
    carried: Carried,
    now: UnixMillis,
    deadline: UnixMillis,
) -> Result<(NewSession, Plan), Verdict> {
    let SubmittedOrder { order, submission, .. } = request;
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|_| Verdict::of(Code::Internal, "the machine has no randomness"))?;
    let Quorum { signers, digest, helpers, .. } = quorum;
    let (pools, prepared) = carried.presignatures.map(|all| (all.pools, all.ids)).unwrap_or_default();
    let plan = Plan {
        order: submission.order.clone(),
        signers: signers.clone(),
        digest,
        pools,
        prepared: prepared.into_iter().map(Some).collect(),
        helpers,
        certificate: submission.certificate.clone(),
        aborts: submission.aborts.clone(),
        erasure: carried.erasure,
        bans: carried.bans,
        nonce,
        deadline,
    };
    let session = NewSession {
        id: plan.session_id(),
        order: order.id,
        attempt,
        account: order.spec.account,
        ordered: encode(&submission.order),
        signers,
        chain_code: submission.chain_code,
        digest,
        created: now,
        deadline,
    };
    Ok((session, plan))
}
