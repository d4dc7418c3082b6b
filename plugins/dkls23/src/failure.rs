//! The library's verdicts as the contract's failures.

use dkls23_core::protocols::{Abort, AbortKind, AbortReason, PartyIndex as LibraryIndex};
use quorate_plugin_sdk::{Detail, Failure, PartyIndex};

use crate::codes;

/// Turns an abort into a failure. Only `BanCounterparty` bans: it means that going on with that party would leak
/// the key through the reused oblivious transfers.
pub(crate) fn failure(abort: Abort) -> Failure {
    // `AbortReason` has a `Display` that names parties and phases, never values.
    let detail = Detail::new(codes::of(&abort.reason), abort.reason.to_string());
    let (culprit, ban) = match (abort.kind, blame(&abort.reason)) {
        (AbortKind::BanCounterparty(culprit), _) => (Some(culprit), true),
        (AbortKind::Recoverable, Blame::OwnShare) => return Failure::InvalidShare(detail),
        (AbortKind::Recoverable, Blame::Us) => return Failure::Internal(detail),
        (AbortKind::Recoverable, Blame::Peer(party)) => (Some(party), false),
        (AbortKind::Recoverable, Blame::Somebody) => (None, false),
    };
    let internal = |why: &str| {
        let text = format!("the library blames {why}: {}", detail.text);
        Failure::Internal(Detail::new(detail.code, text))
    };
    if culprit == Some(abort.index) {
        return internal("this party");
    }
    match culprit.map(|party| PartyIndex::new(party.as_u8().into())) {
        Some(None) => internal("party 0"),
        culprit => Failure::Fault { culprits: culprit.flatten().into_iter().collect(), ban, detail },
    }
}

/// The peer behind a recoverable abort.
enum Blame {
    /// The stored share can't be used.
    OwnShare,
    /// We called the library wrongly: the SDK's mailbox keeps peers from causing these.
    Us,
    /// This party, provably.
    Peer(LibraryIndex),
    /// A peer, but any of them may have caused it. Among these is a mismatch of session bindings: when shares of two
    /// epochs meet, each side sees the other's as wrong.
    Somebody,
}

fn blame(reason: &AbortReason) -> Blame {
    match reason {
        AbortReason::InvalidLocalState { .. } | AbortReason::MissingMulState { .. } => Blame::OwnShare,
        AbortReason::PhaseCalledOutOfOrder { .. }
        | AbortReason::InvalidHex { .. }
        | AbortReason::InvalidXCoordinateHex
        | AbortReason::InvalidPartyIndex { .. }
        | AbortReason::WrongCounterpartyCount { .. }
        | AbortReason::DuplicateCounterparty { .. }
        | AbortReason::SelfInCounterparties
        | AbortReason::MisroutedMessage { .. }
        | AbortReason::WrongMessageCount { .. }
        | AbortReason::LagrangeCoefficientFailed => Blame::Us,
        AbortReason::UnexpectedSender { sender: party }
        | AbortReason::DuplicateSender { sender: party }
        | AbortReason::MissingMessageFromParty { party }
        | AbortReason::MissingCommittedPoint { party }
        | AbortReason::ChainCodeCommitmentFailed { party }
        | AbortReason::ProofVerificationFailed { counterparty: party }
        | AbortReason::CommitmentMismatch { counterparty: party }
        | AbortReason::TrivialInstancePoint { counterparty: party }
        | AbortReason::OtConsistencyCheckFailed { counterparty: party }
        | AbortReason::MultiplicationVerificationFailed { counterparty: party, .. }
        | AbortReason::GammaUInconsistency { counterparty: party }
        | AbortReason::ZeroShareDecommitFailed { counterparty: party } => Blame::Peer(*party),
        _ => Blame::Somebody,
    }
}

/// Our index as the library's.
pub(crate) fn library_index(party: PartyIndex) -> Result<LibraryIndex, Failure> {
    u8::try_from(party.number())
        .ok()
        .and_then(|number| LibraryIndex::new(number).ok())
        .ok_or_else(|| Failure::InvalidTask(format!("party index {party} is too large").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ban_counterparty_bans() {
        let party = LibraryIndex::new(2).unwrap();
        let me = LibraryIndex::new(1).unwrap();
        let reason = AbortReason::OtConsistencyCheckFailed { counterparty: party };
        let culprits = vec![PartyIndex::new(2).unwrap()];
        assert!(matches!(
            failure(Abort::ban(me, party, reason.clone())),
            Failure::Fault { culprits: c, ban: true, .. } if c == culprits
        ));
        assert!(matches!(
            failure(Abort::recoverable(me, reason)),
            Failure::Fault { culprits: c, ban: false, .. } if c == culprits
        ));
        assert!(matches!(
            failure(Abort::recoverable(me, AbortReason::SignatureVerificationFailed)),
            Failure::Fault { culprits: c, ban: false, .. } if c.is_empty()
        ));
        // The library names ourselves when our own proof is not about our point: nobody else is to blame for that.
        let ours = AbortReason::ProofVerificationFailed { counterparty: me };
        assert!(matches!(failure(Abort::recoverable(me, ours)), Failure::Internal(_)));
    }
}
