//! Versions of plugins.

use crate::codec::{Malformed, wire_struct};

/// A plugin version, `major.minor.patch`. Names of pre-releases do not count in comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

wire_struct!(Version { major, minor, patch });

impl core::fmt::Display for Version {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl core::str::FromStr for Version {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let numbers = text.split_once('-').map_or(text, |(numbers, _)| numbers);
        let mut parts = numbers.split('.').map(|part| part.parse().map_err(|_| Malformed));
        let mut next = || parts.next().unwrap_or(Err(Malformed));
        let version = Self { major: next()?, minor: next()?, patch: next()? };
        if parts.next().is_none() { Ok(version) } else { Err(Malformed) }
    }
}
