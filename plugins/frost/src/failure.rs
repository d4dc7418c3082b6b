//! The library's errors, and this crate's own, as the contract's failures. `docs/plugin-codes.md` explains each code to operators.

use frost_core::{Ciphersuite, Error, Identifier};
use quorate_plugin_sdk::{Detail, Failure, PartyIndex, Roster};

/// All codes, ascending.
pub(crate) const CODES: &[u16] =
    &[1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 21, 22, 23, 24, 25, 26, 27, 28, 40, 41, 42, 50, 99];

const COPIED_PACKAGE: u16 = 20;
const WRONG_DEGREE: u16 = 21;
const PROOF_OF_KNOWLEDGE: u16 = 22;
const SECRET_SHARE: u16 = 23;
const SIGNATURE_SHARE: u16 = 24;
const DIFFERENT_COMMITMENTS: u16 = 25;
const WRONG_COUNT: u16 = 26;
const REPAIRED_SHARE: u16 = 27;
const REPAIR_PART: u16 = 28;
const STORED_SHARE: u16 = 40;
const BAD_RESULT: u16 = 41;
const PREPARED_NONCES: u16 = 42;
const CALLED_WRONGLY: u16 = 50;
const OTHER: u16 = 99;

/// Why a task is refused.
// Each of the two plugins refuses something that the other does not.
#[cfg_attr(not(all(feature = "ed25519", feature = "secp256k1-tr")), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Parties,
    Scheme,
    Operation,
    Path,
    Hash,
    MerkleRoot,
    DigestLength,
    PreparedNonces,
    Outputs,
}

/// A task that can't be done as asked.
pub(crate) fn refused(refusal: Refusal) -> Failure {
    let (code, text) = match refusal {
        Refusal::Parties => (1, "a key has at most 16 parties"),
        Refusal::Scheme => (2, "this plugin serves another scheme"),
        Refusal::Operation => (3, "this plugin does not offer the operation"),
        // A child of the key is the key plus a public scalar. Whoever knows a child's private key and that scalar knows the account's, and
        // for Ed25519 wallets derive children by other rules.
        Refusal::Path => (4, "keys of FROST have no children: there is no derivation path"),
        Refusal::Hash => (5, "ed25519 signs the message itself: name no hash function"),
        Refusal::MerkleRoot => (6, "ed25519 knows no merkle root"),
        Refusal::DigestLength => (7, "without a hash function, BIP-340 signs a digest of 32 bytes"),
        Refusal::PreparedNonces => (
            8,
            "a session prepares 1 to 256 pairs of nonces, and all items of a batch use prepared ones, or none",
        ),
        Refusal::Outputs => (9, "the public outputs of the share set to repair do not decode"),
    };
    Failure::InvalidTask(Detail::new(code, text))
}

/// Two parties sent the same commitments. If one of them is this party, the other one copied; otherwise nobody is named.
pub(crate) fn copied_package(by: Option<PartyIndex>) -> Failure {
    let detail = Detail::new(COPIED_PACKAGE, "two parties sent the same commitments");
    Failure::Fault { culprits: by.into_iter().collect(), ban: false, detail }
}

/// A party's commitments are not those of a polynomial of degree t − 1.
pub(crate) fn wrong_degree(by: PartyIndex) -> Failure {
    Failure::fault(by, Detail::new(WRONG_DEGREE, "another number of commitments than the threshold asks for"))
}

/// A party's secret share does not lie on the polynomial that it committed to.
pub(crate) fn bad_secret_share(by: PartyIndex) -> Failure {
    Failure::fault(by, Detail::new(SECRET_SHARE, "a secret share that does not fit its commitments"))
}

/// The signers do not have the same nonce commitments. Any of them may say so falsely.
pub(crate) fn different_commitments() -> Failure {
    let detail = Detail::new(DIFFERENT_COMMITMENTS, "the signers have different nonce commitments");
    Failure::Fault { culprits: vec![], ban: false, detail }
}

/// A party committed to more or fewer pairs of nonces than it was asked for.
pub(crate) fn wrong_count(by: PartyIndex) -> Failure {
    Failure::fault(
        by,
        Detail::new(WRONG_COUNT, "another number of commitments than pairs of nonces are prepared"),
    )
}

/// What the helpers of a repair have sent does not make the lost share. Any of them may have caused it.
pub(crate) fn wrong_repair() -> Failure {
    let detail = Detail::new(REPAIRED_SHARE, "the helpers' parts do not make the lost share");
    Failure::Fault { culprits: vec![], ban: false, detail }
}

/// A party sent a part of a repair that it has none of, or none where it has one.
pub(crate) fn repair_part(by: PartyIndex) -> Failure {
    Failure::fault(by, Detail::new(REPAIR_PART, "another part of the repair than the party has"))
}

/// Nonces that were made ahead of time can't be used.
pub(crate) fn prepared_nonces(what: &str) -> Failure {
    Failure::InvalidShare(Detail::new(PREPARED_NONCES, format!("the prepared nonces {what}")))
}

/// The stored share can't be used.
pub(crate) fn stored_share(what: &str) -> Failure {
    Failure::InvalidShare(Detail::new(STORED_SHARE, format!("the stored share {what}")))
}

/// New shares are not what they must be.
pub(crate) fn bad_result(what: &str) -> Failure {
    Failure::Internal(Detail::new(BAD_RESULT, format!("the new shares {what}")))
}

/// An order of calls that [`Rounds`](quorate_plugin_sdk::Rounds) rules out.
pub(crate) fn out_of_order() -> Failure {
    Failure::Internal(Detail::new(CALLED_WRONGLY, "rounds out of order"))
}

/// An error of the library as a failure that names the parties which it proves at fault.
pub(crate) fn failure<S: Ciphersuite>(roster: &Roster, error: &Error<S>) -> Failure {
    let (code, is_ours) = match error {
        Error::InvalidProofOfKnowledge { .. } => (PROOF_OF_KNOWLEDGE, false),
        Error::InvalidSecretShare { .. } => (SECRET_SHARE, false),
        Error::InvalidSignatureShare { .. } => (SIGNATURE_SHARE, false),
        // Points and scalars that peers have chosen so that a sum of them is zero.
        Error::GroupError(_) | Error::FieldError(_) | Error::IdentityCommitment => (OTHER, false),
        _ => (CALLED_WRONGLY, true),
    };
    let detail = Detail::new(code, error.to_string());
    if is_ours {
        return Failure::Internal(detail);
    }
    let proved = error.culprits();
    let is_proved = |party: &PartyIndex| identifier(*party).is_ok_and(|id| proved.contains(&id));
    let culprits: Vec<_> = roster.peers().filter(is_proved).collect();
    if culprits.is_empty() && is_proved(&roster.me()) {
        return Failure::Internal(detail);
    }
    Failure::Fault { culprits, ban: false, detail }
}

/// The library's identifier of a party: its index.
pub(crate) fn identifier<S: Ciphersuite>(party: PartyIndex) -> Result<Identifier<S>, Failure> {
    let invalid = |error: Error<S>| Failure::Internal(Detail::new(CALLED_WRONGLY, error.to_string()));
    Identifier::try_from(party.number()).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained() {
        let page = include_str!("../../../docs/plugin-codes.md");
        assert!(CODES.is_sorted_by(|a, b| a < b) && !CODES.contains(&0));
        for code in CODES {
            assert!(page.contains(&format!("\n| frost | {code} | ")), "docs/plugin-codes.md lacks {code}");
        }
        assert_eq!(page.matches("\n| frost | ").count(), CODES.len());
    }
}
