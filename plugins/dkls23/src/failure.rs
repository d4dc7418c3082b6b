//! The library's verdicts as the contract's failures.

use dkls23_core::protocols::{Abort, AbortKind, AbortReason, PartyIndex as LibraryIndex};
use quorate_plugin_sdk::{Failure, PartyIndex};

/// Turns an abort into a failure. Only `BanCounterparty` bans: it means that going on with that party would leak
/// the key through the reused oblivious transfers.
pub(crate) fn failure(abort: Abort) -> Failure {
    // `AbortReason` has a `Display` that names parties and phases, never values.
    let reason = abort.reason.to_string();
    match abort.kind {
        AbortKind::BanCounterparty(culprit) => {
            Failure::Fault { culprits: vec![index(culprit)], ban: true, reason }
        }
        AbortKind::Recoverable => match abort.reason {
            AbortReason::InvalidLocalState { .. } | AbortReason::MissingMulState { .. } => {
                Failure::InvalidShare(reason)
            }
            AbortReason::PhaseCalledOutOfOrder { .. }
            | AbortReason::InvalidHex { .. }
            | AbortReason::InvalidXCoordinateHex => Failure::Internal(reason),
            cause => Failure::Fault { culprits: culprit(&cause).into_iter().collect(), ban: false, reason },
        },
    }
}

/// The party that a recoverable abort proves at fault. Where the library names nobody (a polynomial that does not
/// fit, a signature that does not verify), any of the others may have caused it.
fn culprit(reason: &AbortReason) -> Option<PartyIndex> {
    let party = match reason {
        AbortReason::UnexpectedSender { sender } | AbortReason::DuplicateSender { sender } => sender,
        AbortReason::MissingMessageFromParty { party }
        | AbortReason::MissingCommittedPoint { party }
        | AbortReason::ChainCodeCommitmentFailed { party } => party,
        AbortReason::SessionBindingMismatch { counterparty }
        | AbortReason::ProofVerificationFailed { counterparty }
        | AbortReason::CommitmentMismatch { counterparty }
        | AbortReason::TrivialInstancePoint { counterparty }
        | AbortReason::OtConsistencyCheckFailed { counterparty }
        | AbortReason::MultiplicationVerificationFailed { counterparty, .. }
        | AbortReason::GammaUInconsistency { counterparty }
        | AbortReason::ZeroShareDecommitFailed { counterparty } => counterparty,
        _ => return None,
    };
    Some(index(*party))
}

/// A library index as ours. The library's are 1..=255 by construction.
fn index(party: LibraryIndex) -> PartyIndex {
    PartyIndex::new(party.as_u8().into()).unwrap_or(PartyIndex::FIRST)
}

/// Our index as the library's.
pub(crate) fn library_index(party: PartyIndex) -> Result<LibraryIndex, Failure> {
    u8::try_from(party.number())
        .ok()
        .and_then(|number| LibraryIndex::new(number).ok())
        .ok_or_else(|| Failure::InvalidTask(format!("party index {party} is too large")))
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
    }
}
