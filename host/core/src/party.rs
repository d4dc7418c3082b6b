//! Party indices and thresholds.

use core::num::NonZeroU16;

/// A party's index in its key, fixed at key generation: 1..=n.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartyIndex(NonZeroU16);

impl PartyIndex {
    /// The smallest index.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// The index as a number, from 1.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0.get()
    }

    /// All indices of a key with `parties` parties, ascending.
    pub fn all(parties: u16) -> impl Iterator<Item = Self> {
        (1..=parties).filter_map(NonZeroU16::new).map(Self)
    }
}

/// 0 is no party index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a party index is 1 or more")]
pub struct PartyIndexError;

impl TryFrom<u16> for PartyIndex {
    type Error = PartyIndexError;

    fn try_from(index: u16) -> Result<Self, PartyIndexError> {
        NonZeroU16::new(index).map(Self).ok_or(PartyIndexError)
    }
}

impl core::fmt::Display for PartyIndex {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// t of n: how many parties are required to sign, and how many there are. 2 ≤ t ≤ n ≤ 16.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Threshold {
    required: u16,
    parties: u16,
}

/// Why t of n is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// One party alone would hold the key.
    #[error("the threshold is {0}: at least 2 parties must be required to sign")]
    TooSmall(u16),
    /// No quorum could ever sign.
    #[error("the threshold is {required}, but there are only {parties} parties")]
    MoreThanParties {
        /// t
        required: u16,
        /// n
        parties: u16,
    },
    /// See [`Threshold::MAX_PARTIES`].
    #[error("{0} parties: at most {max} are supported", max = Threshold::MAX_PARTIES)]
    TooManyParties(u16),
}

impl Threshold {
    /// Every pair of parties exchanges messages of 100 kB and more in a keygen: more parties make keygen
    /// slow without making a key safer. The protocols' own limits are no lower.
    pub const MAX_PARTIES: u16 = 16;

    /// `required` of `parties`.
    ///
    /// # Errors
    /// When not 2 ≤ t ≤ n ≤ 16.
    pub fn new(required: u16, parties: u16) -> Result<Self, ThresholdError> {
        if required < 2 {
            Err(ThresholdError::TooSmall(required))
        } else if parties > Self::MAX_PARTIES {
            Err(ThresholdError::TooManyParties(parties))
        } else if required > parties {
            Err(ThresholdError::MoreThanParties { required, parties })
        } else {
            Ok(Self { required, parties })
        }
    }

    /// t
    #[must_use]
    pub fn required(self) -> u16 {
        self.required
    }

    /// n
    #[must_use]
    pub fn parties(self) -> u16 {
        self.parties
    }
}

impl core::fmt::Display for Threshold {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}-of-{}", self.required, self.parties)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_2_up_to_n_up_to_16() {
        for parties in 0..20 {
            for required in 0..20 {
                let good = 2 <= required && required <= parties && parties <= 16;
                assert_eq!(Threshold::new(required, parties).is_ok(), good, "{required}/{parties}");
            }
        }
    }
}
