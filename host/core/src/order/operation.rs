//! The operations that an order can ask for.

use super::repair::Repair;
use super::sign_items::SignItems;
use crate::PartyIndex;
use crate::codec::{Malformed, Reader, Wire};

/// The operations that an order can ask for.
// An order is decoded once and lives as long as its session: a box would only be one more allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Make a key.
    Keygen,
    /// Sign.
    Sign(SignItems),
    /// New shares of the same key for all n parties.
    Refresh,
    /// Make presignatures of the account's key ahead of time.
    Presign {
        /// So many at most.
        at_most: u16,
    },
    /// Make the material that this group of parties shares, ahead of time.
    Auxiliary {
        /// So many items at most.
        at_most: u16,
    },
    /// Make material of each party alone, ahead of time.
    Prepare {
        /// So many items at most, at each party.
        at_most: u16,
    },
    /// Give parties their lost shares again, and new shares of the same key to all n parties.
    Repair(Repair),
}

impl Operation {
    /// The items to sign; empty for every other operation.
    #[must_use]
    pub fn sign_items(&self) -> &[super::SignItem] {
        if let Self::Sign(items) = self { items.all() } else { &[] }
    }

    /// Whether it gives all n parties new shares of the key that they have.
    #[must_use]
    pub fn is_complete_refresh(&self) -> bool {
        matches!(self, Self::Refresh | Self::Repair(_))
    }

    /// The repair, if it is one.
    #[must_use]
    pub fn repair(&self) -> Option<&Repair> {
        if let Self::Repair(repair) = self { Some(repair) } else { None }
    }

    /// Whether it gives this party its lost share again.
    #[must_use]
    pub fn repairs(&self, party: PartyIndex) -> bool {
        self.repair().is_some_and(|repair| repair.is_target(party))
    }

    /// How many signatures it asks for.
    #[must_use]
    pub fn signatures(&self) -> u32 {
        u32::try_from(self.sign_items().len()).unwrap_or(u32::MAX)
    }

    /// Whether it makes new shares: a keygen, refresh or repair. Each has one session, and all n parties take part.
    #[must_use]
    pub fn makes_shares(&self) -> bool {
        matches!(self, Self::Keygen | Self::Refresh | Self::Repair(_))
    }

    /// How many sessions a party starts for such an order: for one that makes shares one, because a share that was promised in
    /// it would stand in the way of another; for any other the first and two retries.
    #[must_use]
    pub fn max_sessions(&self) -> u32 {
        if self.makes_shares() { 1 } else { 3 }
    }

    /// Whether it signs.
    #[must_use]
    pub fn is_signing(&self) -> bool {
        matches!(self, Self::Sign(_))
    }
}

impl Wire for Operation {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Keygen => 1_u8.put(out),
            Self::Sign(items) => {
                2_u8.put(out);
                items.put(out);
            }
            Self::Refresh => 3_u8.put(out),
            Self::Presign { at_most } => {
                4_u8.put(out);
                at_most.put(out);
            }
            Self::Auxiliary { at_most } => {
                5_u8.put(out);
                at_most.put(out);
            }
            Self::Prepare { at_most } => {
                6_u8.put(out);
                at_most.put(out);
            }
            Self::Repair(repair) => {
                7_u8.put(out);
                repair.put(out);
            }
        }
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match u8::take(input)? {
            1 => Self::Keygen,
            2 => Self::Sign(Wire::take(input)?),
            3 => Self::Refresh,
            4 => Self::Presign { at_most: Wire::take(input)? },
            5 => Self::Auxiliary { at_most: Wire::take(input)? },
            6 => Self::Prepare { at_most: Wire::take(input)? },
            7 => Self::Repair(Wire::take(input)?),
            _ => return Err(Malformed),
        })
    }
}
