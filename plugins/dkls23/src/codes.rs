//! The codes of this plugin's failures. `docs/plugin-codes.md` explains each to operators.

use dkls23_core::protocols::AbortReason;

/// A peer sent the same commitment as another party.
pub(crate) const COPIED_COMMITMENT: u16 = 33;

/// What the helpers of a repair have sent does not make the lost share.
pub(crate) const REPAIRED_SHARE: u16 = 34;

/// A peer sent a part of a repair that it has none of, or none where it has one.
pub(crate) const REPAIR_PART: u16 = 35;

/// The public outputs of the share set to repair do not decode.
pub(crate) const OUTPUTS: u16 = 6;

/// The stored share is not of the share set to repair.
pub(crate) const OTHER_SHARE_SET: u16 = 42;

/// The stored share does not fit.
pub(crate) const BAD_SHARE: u16 = 40;

/// The stored share lacks what it needs for a peer.
pub(crate) const INCOMPLETE_SHARE: u16 = 41;

/// This plugin called the library wrongly.
pub(crate) const CALLED_WRONGLY: u16 = 50;

/// All codes, ascending.
pub(crate) const ALL: &[u16] = &[
    1,
    2,
    3,
    4,
    5,
    OUTPUTS,
    20,
    21,
    22,
    23,
    24,
    25,
    26,
    27,
    28,
    29,
    30,
    31,
    32,
    COPIED_COMMITMENT,
    REPAIRED_SHARE,
    REPAIR_PART,
    40,
    41,
    OTHER_SHARE_SET,
    50,
    99,
];

/// The code of an abort of the library.
pub(crate) fn of(reason: &AbortReason) -> u16 {
    match reason {
        // A message that does not belong where it came.
        AbortReason::UnexpectedSender { .. } => 1,
        AbortReason::DuplicateSender { .. } => 2,
        AbortReason::MissingMessageFromParty { .. } => 3,
        AbortReason::SessionBindingMismatch { .. } => 4,
        AbortReason::MissingCommittedPoint { .. } => 5,
        // A check of what a peer sent.
        AbortReason::ProofVerificationFailed { .. } => 20,
        AbortReason::CommitmentMismatch { .. } => 21,
        AbortReason::PolynomialInconsistency => 22,
        AbortReason::TrivialInstancePoint { .. } => 23,
        AbortReason::TrivialPublicKey => 24,
        AbortReason::TrivialKeyShare => 25,
        AbortReason::ChainCodeCommitmentFailed { .. } => 26,
        AbortReason::ZeroShareDecommitFailed { .. } => 27,
        AbortReason::SignatureVerificationFailed => 28,
        AbortReason::ZeroDenominator => 29,
        // The oblivious transfers and what is multiplied with them.
        AbortReason::OtConsistencyCheckFailed { .. } => 30,
        AbortReason::MultiplicationVerificationFailed { .. } => 31,
        AbortReason::GammaUInconsistency { .. } => 32,
        // This party's share.
        AbortReason::InvalidLocalState { .. } => BAD_SHARE,
        AbortReason::MissingMulState { .. } => INCOMPLETE_SHARE,
        // This plugin called the library wrongly.
        AbortReason::PhaseCalledOutOfOrder { .. }
        | AbortReason::InvalidHex { .. }
        | AbortReason::InvalidXCoordinateHex
        | AbortReason::InvalidPartyIndex { .. }
        | AbortReason::WrongCounterpartyCount { .. }
        | AbortReason::DuplicateCounterparty { .. }
        | AbortReason::SelfInCounterparties
        | AbortReason::MisroutedMessage { .. }
        | AbortReason::WrongMessageCount { .. }
        | AbortReason::LagrangeCoefficientFailed => CALLED_WRONGLY,
        _ => 99,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained() {
        let page = include_str!("../../../docs/plugin-codes.md");
        assert!(ALL.is_sorted_by(|a, b| a < b) && !ALL.contains(&0));
        for code in ALL {
            assert!(page.contains(&format!("\n| dkls23 | {code} | ")), "docs/plugin-codes.md lacks {code}");
        }
        assert_eq!(page.matches("\n| dkls23 | ").count(), ALL.len());
    }
}
