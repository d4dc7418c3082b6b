//! Variables, each read once: from the environment, and from a file of the same names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use quorate_core::Threshold;
use zeroize::Zeroizing;

use super::environment::is_example;
use crate::secret_file::{Access, check_access};

/// Why the configuration can't be used: the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A malformed value. It is not shown, because it may be a secret in the wrong place.
    #[error("{name}: give {wanted}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// The values that it accepts.
        wanted: &'static str,
    },
    /// Something is not set that is needed.
    #[error("{name} is not set: {by} needs it")]
    Missing {
        /// The variable.
        name: &'static str,
        /// A role, or another variable.
        by: &'static str,
    },
    /// A secret was given twice.
    #[error("{0} and {0}_FILE are both set: keep one of them")]
    Twice(&'static str),
    /// Keys and their hashes.
    #[error("{0} and {0}_SHA256 are both set: keep {0}_SHA256, or {0} where all roles are in one process")]
    KeysAndHashes(&'static str),
    /// A key where its hash is enough.
    #[error(
        "{0} is set, and no role may hold an API key: unset it; where a role checks this key, set {0}_SHA256 to what \
         `quorate key hash` prints"
    )]
    PlainKey(&'static str),
    /// A secret that stands in an example.
    #[error("{0}: this value is from an example: production needs one of your own")]
    Example(&'static str),
    /// Callers would send keys over the network in the clear.
    #[error(
        "{0} is not this machine's own address, and there is no TLS: in production set TLS_CERT_FILE and TLS_KEY_FILE, or \
         name the proxy that has TLS in TRUSTED_PROXIES"
    )]
    Unprotected(&'static str),
    /// Roles would talk over a network that nobody has declared to be private.
    #[error(
        "{0} is not this machine's own address, and there is no TLS: in production set TLS_CERT_FILE and TLS_KEY_FILE, or \
         declare in QUORATE_PRIVATE_NETWORKS where nobody else can read or change what passes"
    )]
    UnprotectedFromRoles(&'static str),
    /// All parties in one process.
    #[error(
        "ENVIRONMENT is production, and all parties in one process (--embedded) give no threshold security: run a process \
         for each role, or unset ENVIRONMENT to try it out"
    )]
    Embedded,
    /// The file of a secret can't be read.
    #[error("{0}_FILE: the file can't be used")]
    File(&'static str, #[source] std::io::Error),
    /// A variable that is not a setting.
    #[error("{0}: there is no such setting; check its spelling")]
    Unknown(String),
    /// The configuration file can't be read.
    #[error("QUORATE_CONFIG: {0}: the file can't be used")]
    ConfigFile(PathBuf, #[source] std::io::Error),
    /// The configuration file is not what it should be.
    #[error(
        "QUORATE_CONFIG: {0}: give lines like NAME = \"value\", NAME = 3 or NAME = [\"one\", \"two\"]{1}"
    )]
    ConfigSyntax(PathBuf, String),
}

/// Variables of other programs are left alone; those that begin with one of these are ours, and must be known.
const OWN_PREFIXES: [&str; 9] = [
    "ENVIRONMENT",
    "QUORATE_",
    "MPC_",
    "CRYPTO_",
    "JWT_",
    "ALLOWED_IPS",
    "TRUSTED_PROXIES",
    "TLS_",
    "USER_SHARE_",
];

/// Variables that share their beginning with those of the services' own programs.
const SHARED_NAMES: [&str; 6] =
    ["POSTGRES_URL", "POSTGRES_PASSWORD", "RABBITMQ_URL", "RABBITMQ_PASSWORD", "REDIS_URL", "REDIS_PASSWORD"];

/// Prefixes of the services' own programs. A misspelt setting of Quorate may have one of them too.
const SERVICE_PREFIXES: [&str; 3] = ["POSTGRES_", "RABBITMQ_", "REDIS_"];

/// Names that may be misspelt settings of ours, and may as well be another program's.
pub(super) fn is_unrecognised(name: &str) -> bool {
    !is_ours(name) && SERVICE_PREFIXES.iter().any(|beginning| name.starts_with(beginning))
}

fn is_ours(name: &str) -> bool {
    OWN_PREFIXES.iter().any(|beginning| name.starts_with(beginning))
        || SHARED_NAMES.contains(&name.strip_suffix("_FILE").unwrap_or(name))
}

/// All that is set, and what was found in it.
pub(super) struct Variables {
    set: BTreeMap<String, Zeroizing<String>>,
    /// Names that were asked for: all that there are.
    asked: BTreeSet<String>,
    /// Secrets that are those of an example.
    examples: Vec<&'static str>,
}

impl Variables {
    /// Those of the environment, and those of the file that `QUORATE_CONFIG` names. The environment goes first.
    pub(super) fn new(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let ours = variables.into_iter().filter(|(name, _)| is_ours(name));
        // An empty setting counts as not set, because compose files set empty values.
        let set = ours.filter(|(_, value)| !value.is_empty());
        let mut all: BTreeMap<_, _> = set.map(|(name, value)| (name, Zeroizing::new(value))).collect();
        if let Some(path) = all.remove("QUORATE_CONFIG") {
            for (name, value) in read_file(Path::new(path.as_str()))? {
                all.entry(name).or_insert(value);
            }
        }
        Ok(Self { set: all, asked: BTreeSet::new(), examples: vec![] })
    }

    fn remove(&mut self, name: &str) -> Option<Zeroizing<String>> {
        self.asked.insert(name.to_owned());
        self.set.remove(name)
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.remove(name).map(|value| value.as_str().to_owned())
    }

    pub(super) fn parsed<T: FromStr>(
        &mut self,
        name: &'static str,
        wanted: &'static str,
    ) -> Result<Option<T>, ConfigError> {
        let value = self.remove(name);
        value.map(|value| value.parse().map_err(|_| ConfigError::Invalid { name, wanted })).transpose()
    }

    /// A number of parties.
    pub(super) fn party_count(&mut self, name: &'static str) -> Result<Option<u16>, ConfigError> {
        let wanted = "a number from 2 to 16";
        match self.parsed(name, wanted)? {
            Some(count) if !(2..=Threshold::MAX_PARTIES).contains(&count) => {
                Err(ConfigError::Invalid { name, wanted })
            }
            count => Ok(count),
        }
    }

    /// A time in milliseconds.
    pub(super) fn millis(&mut self, name: &'static str) -> Result<Option<Duration>, ConfigError> {
        let wanted = "a number of milliseconds from 1 to 600000";
        match self.parsed::<u64>(name, wanted)? {
            Some(millis @ 1..=600_000) => Ok(Some(Duration::from_millis(millis))),
            Some(_) => Err(ConfigError::Invalid { name, wanted }),
            None => Ok(None),
        }
    }

    /// A list with commas between its items.
    pub(super) fn list<T>(
        &mut self,
        name: &'static str,
        wanted: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ConfigError> {
        let Some(list) = self.remove(name) else { return Ok(vec![]) };
        let items =
            list.split(',').map(|item| read(item.trim()).ok_or(ConfigError::Invalid { name, wanted }));
        items.collect()
    }

    /// A secret, or what is in the file that `NAME_FILE` names.
    pub(super) fn secret(&mut self, name: &'static str) -> Result<Option<Zeroizing<String>>, ConfigError> {
        let file = self.remove(&format!("{name}_FILE"));
        let secret = match (self.remove(name), file) {
            (Some(_), Some(_)) => return Err(ConfigError::Twice(name)),
            (given, None) => given,
            (None, Some(path)) => {
                let read = || {
                    check_access(Path::new(path.as_str()), Access::OthersRead)?;
                    std::fs::read_to_string(path.as_str()).map(Zeroizing::new)
                };
                let text = read().map_err(|error| ConfigError::File(name, error))?;
                Some(Zeroizing::new(text.trim_end().to_owned()))
            }
        };
        if secret.as_ref().is_some_and(|secret| is_example(secret)) {
            self.examples.push(name);
        }
        Ok(secret)
    }

    /// A list of secrets with commas between, of which none may be that of an example.
    pub(super) fn secret_list(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Vec<Zeroizing<String>>>, ConfigError> {
        let Some(list) = self.secret(name)? else { return Ok(None) };
        let items = list.split(',').map(|item| Zeroizing::new(item.trim().to_owned()));
        let items: Vec<_> = items.collect();
        if items.iter().any(|item| is_example(item)) {
            self.examples.push(name);
        }
        Ok(Some(items))
    }

    /// Notes that a secret is that of an example.
    pub(super) fn note_example(&mut self, name: &'static str) {
        self.examples.push(name);
    }

    /// Refuses variables that were not read. Returns the secrets that are those of an example, and the names of all
    /// settings.
    pub(super) fn finish(self) -> Result<(Vec<&'static str>, BTreeSet<String>), ConfigError> {
        match self.set.into_keys().next() {
            Some(name) => Err(ConfigError::Unknown(name)),
            None => Ok((self.examples, self.asked)),
        }
    }
}

/// A file with the names of the variables (TOML). A name that is not a setting is found by [`Variables::finish`].
fn read_file(path: &Path) -> Result<BTreeMap<String, Zeroizing<String>>, ConfigError> {
    let read = || {
        check_access(path, Access::OthersRead)?;
        std::fs::read_to_string(path).map(Zeroizing::new)
    };
    let text = read().map_err(|error| ConfigError::ConfigFile(path.to_owned(), error))?;
    let syntax = |at: String| ConfigError::ConfigSyntax(path.to_owned(), at);
    // The library's message shows the line, which may hold a secret: only where it is may be shown.
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
        syntax(line.map(|line| format!(" (line {line})")).unwrap_or_default())
    })?;
    let value = |(name, value): (String, toml::Value)| {
        let value = scalar(&value).or_else(|| {
            let items: Option<Vec<_>> = value.as_array()?.iter().map(scalar).collect();
            Some(items?.join(","))
        });
        let value = value.ok_or_else(|| syntax(format!(" ({name})")))?;
        Ok((name, Zeroizing::new(value)))
    };
    table.into_iter().map(value).collect()
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}
