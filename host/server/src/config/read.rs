//! Variables, each read once.

use std::collections::BTreeMap;
use std::str::FromStr;

use zeroize::Zeroizing;

/// Why the configuration can't be used: the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value that makes no sense. It is not shown: it may be a secret in the wrong place.
    #[error("{name}: give {wanted}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What it takes.
        wanted: &'static str,
    },
    /// A secret was given twice.
    #[error("{0} and {0}_FILE are both set: keep one of them")]
    Twice(&'static str),
    /// The file of a secret can't be read.
    #[error("{0}_FILE: the file can't be read")]
    File(&'static str, #[source] std::io::Error),
    /// A variable that nobody reads.
    #[error("{0}: there is no such setting; check its spelling")]
    Unknown(String),
}

pub(super) struct Variables(BTreeMap<String, Zeroizing<String>>);

impl Variables {
    pub(super) fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = variables.into_iter().filter(|(name, _)| {
            name.starts_with("QUORATE_") || name.starts_with("MPC_API_KEY") || name == "ALLOWED_IPS"
        });
        // What is set to nothing is not set: compose files do that.
        let set = ours.filter(|(_, value)| !value.is_empty());
        Self(set.map(|(name, value)| (name, Zeroizing::new(value))).collect())
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).map(|value| value.as_str().to_owned())
    }

    pub(super) fn parsed<T: FromStr>(
        &mut self,
        name: &'static str,
        wanted: &'static str,
    ) -> Result<Option<T>, ConfigError> {
        let value = self.0.remove(name);
        value.map(|value| value.parse().map_err(|_| ConfigError::Invalid { name, wanted })).transpose()
    }

    /// A secret, or what is in the file that `NAME_FILE` names.
    pub(super) fn secret(&mut self, name: &'static str) -> Result<Option<Zeroizing<String>>, ConfigError> {
        let file = self.0.remove(&format!("{name}_FILE"));
        match (self.0.remove(name), file) {
            (Some(_), Some(_)) => Err(ConfigError::Twice(name)),
            (given, None) => Ok(given),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path.as_str()).map(Zeroizing::new);
                let text = text.map_err(|error| ConfigError::File(name, error))?;
                Ok(Some(Zeroizing::new(text.trim_end().to_owned())))
            }
        }
    }

    pub(super) fn finish(self) -> Result<(), ConfigError> {
        match self.0.into_keys().next() {
            Some(name) => Err(ConfigError::Unknown(name)),
            None => Ok(()),
        }
    }
}
