//! The contract's scheme, indices and failures, and the library's.

use frost_ed25519::Identifier;
use quorate_plugin_sdk::{Failure, PartyIndex, Roster};

/// The name of the scheme in the contract.
pub(crate) const SCHEME: &str = "ed25519";

/// The format of shares.
pub(crate) const FORMAT: u32 = 1;

/// The library's identifier of a party.
pub(crate) fn identifier(party: PartyIndex) -> Result<Identifier, Failure> {
    Identifier::try_from(party.number()).map_err(|e| Failure::InvalidTask(e.to_string().into()))
}

/// The library's error, and the parties that it proves at fault.
pub(crate) fn failure(roster: &Roster, error: &frost_ed25519::Error) -> Failure {
    let culprits = error.culprits();
    let named = roster.peers().filter(|&p| identifier(p).is_ok_and(|id| culprits.contains(&id)));
    Failure::Fault { culprits: named.collect(), ban: false, detail: error.to_string().into() }
}
