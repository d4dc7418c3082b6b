//! What a plugin can be asked to do.

use crate::bindings::exports::quorate::party::protocol as wit;

/// A kind of session, or an ability of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PluginOperation {
    /// Makes a key.
    Keygen,
    /// Signs.
    Sign,
    /// Makes presignatures ahead of time.
    Presign,
    /// Makes new shares of the same key.
    Refresh,
    /// Gives a party its lost share back.
    Repair,
    /// Makes material that a group of parties shares.
    Auxiliary,
    /// Makes material of one party ahead of time.
    Prepare,
    /// Signs with child keys (BIP-32).
    Derivation,
}

impl PluginOperation {
    /// The operations among the flags, ascending.
    pub(crate) fn of_flags(flags: wit::Operations) -> impl Iterator<Item = Self> {
        let all = [
            (wit::Operations::KEYGEN, Self::Keygen),
            (wit::Operations::SIGN, Self::Sign),
            (wit::Operations::PRESIGN, Self::Presign),
            (wit::Operations::REFRESH, Self::Refresh),
            (wit::Operations::REPAIR, Self::Repair),
            (wit::Operations::AUXILIARY, Self::Auxiliary),
            (wit::Operations::PREPARE, Self::Prepare),
            (wit::Operations::DERIVATION, Self::Derivation),
        ];
        all.into_iter().filter(move |(flag, _)| flags.contains(*flag)).map(|(_, operation)| operation)
    }
}
