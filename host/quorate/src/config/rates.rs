//! How much callers may ask for.

use super::ConfigError;
use super::read::Variables;

/// How many requests are taken in a minute, and how many wrong keys. 0: as many as come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RatesConfig {
    /// `QUORATE_REQUESTS_PER_MINUTE`: requests with one API key; 0 if you say nothing.
    pub per_key: u32,
    /// `QUORATE_ACCOUNT_REQUESTS_PER_MINUTE`: signatures and refreshes asked of one account; 0 if you say nothing.
    pub per_account: u32,
    /// `QUORATE_FAILED_KEYS_PER_MINUTE`: how many wrong keys an address may send before none of its keys is looked at for the
    /// rest of the minute; 100 if you say nothing.
    pub failed_keys: u32,
}

impl RatesConfig {
    pub(super) fn read(variables: &mut Variables) -> Result<Self, ConfigError> {
        let mut rate = |name, default| {
            Ok::<_, ConfigError>(variables.parsed(name, "a number; 0 for no limit")?.unwrap_or(default))
        };
        Ok(Self {
            per_key: rate("QUORATE_REQUESTS_PER_MINUTE", 0)?,
            per_account: rate("QUORATE_ACCOUNT_REQUESTS_PER_MINUTE", 0)?,
            failed_keys: rate("QUORATE_FAILED_KEYS_PER_MINUTE", DEFAULT_FAILED_KEYS)?,
        })
    }
}

/// Far more than somebody mistypes, and far fewer than finding a key takes.
const DEFAULT_FAILED_KEYS: u32 = 100;
