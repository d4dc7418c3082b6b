//! Configuration: from the environment, one struct per concern. Names that begin with `QUORATE_` and are not listed here
//! are refused: a misspelt setting must not be silently ignored.

mod read;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::http::{AllowedAddresses, ApiKey};
use crate::telemetry::Format;
use read::Variables;

pub use read::ConfigError;

/// All of it.
#[derive(Debug)]
pub struct Config {
    /// The API.
    pub http: HttpConfig,
    /// What an embedded deployment needs besides.
    pub embedded: EmbeddedConfig,
    /// The log.
    pub log: LogConfig,
}

/// The API.
#[derive(Debug)]
pub struct HttpConfig {
    /// `QUORATE_LISTEN`: where the API listens. This machine only, unless you say otherwise: put TLS before it.
    pub listen: SocketAddr,
    /// `MPC_API_KEY` (or a file named by `MPC_API_KEY_FILE`): the key that callers present, 16 characters or more. Made
    /// and kept in the data folder if there is none.
    pub key: Option<ApiKey>,
    /// `ALLOWED_IPS`: addresses and ranges that may call, separated by commas. Empty: all.
    pub allowed: AllowedAddresses,
}

/// An embedded deployment.
#[derive(Debug)]
pub struct EmbeddedConfig {
    /// `QUORATE_DATA`: where databases, keys and compiled plugins are kept.
    pub data: PathBuf,
    /// `QUORATE_PARTIES`: how many parties; 2 to 16.
    pub parties: u16,
    /// `QUORATE_PLUGIN_FILES`: the components to run, separated by commas.
    pub plugins: Vec<PathBuf>,
}

/// The log.
#[derive(Debug)]
pub struct LogConfig {
    /// `QUORATE_LOG`: what is logged: `info`, `quorate=debug,warn`.
    pub filter: String,
    /// `QUORATE_LOG_FORMAT`: `text` or `json`.
    pub format: Format,
}

impl Config {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn from_env() -> Result<Self, ConfigError> {
        let text = |(name, value): (OsString, OsString)| {
            // What is no text becomes a value that no setting takes.
            Some((name.into_string().ok()?, value.into_string().unwrap_or_else(|_| "\u{fffd}".into())))
        };
        Self::read(std::env::vars_os().filter_map(text))
    }

    /// Reads variables.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn read(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut variables = Variables::new(variables);
        let config = Self {
            http: HttpConfig {
                listen: variables
                    .parsed("QUORATE_LISTEN", "an address like 127.0.0.1:4000")?
                    .unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 4000).into()),
                key: match variables.secret("MPC_API_KEY")? {
                    Some(key) => Some(ApiKey::new(&key).ok_or(ConfigError::Invalid {
                        name: "MPC_API_KEY",
                        wanted: "16 characters or more",
                    })?),
                    None => None,
                },
                allowed: variables
                    .parsed("ALLOWED_IPS", "addresses like 10.0.0.1 or 10.0.0.0/8, with commas between")?
                    .unwrap_or_default(),
            },
            embedded: EmbeddedConfig {
                data: variables.take("QUORATE_DATA").map_or_else(|| "quorate-data".into(), PathBuf::from),
                parties: variables.parsed("QUORATE_PARTIES", "a number from 2 to 16")?.unwrap_or(3),
                plugins: match variables.take("QUORATE_PLUGIN_FILES") {
                    Some(list) => list.split(',').map(str::trim).map(PathBuf::from).collect(),
                    None => vec![variables.take("QUORATE_PLUGINS").map_or_else(
                        || "target/plugins/dkls23.wasm".into(),
                        |folder| PathBuf::from(folder).join("dkls23.wasm"),
                    )],
                },
            },
            log: LogConfig {
                filter: variables.take("QUORATE_LOG").unwrap_or_else(|| "info".into()),
                format: match variables.take("QUORATE_LOG_FORMAT").as_deref() {
                    None | Some("text") => Format::Text,
                    Some("json") => Format::Json,
                    Some(_) => {
                        return Err(ConfigError::Invalid {
                            name: "QUORATE_LOG_FORMAT",
                            wanted: "text or json",
                        });
                    }
                },
            },
        };
        // Where make puts components; of use to tests, and above.
        variables.take("QUORATE_PLUGINS");
        variables.finish()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    }

    #[test]
    fn an_empty_environment_is_enough() {
        let config = read(&[("PATH", "/bin")]).unwrap();
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:4000");
        assert_eq!((config.embedded.parties, config.http.key.is_none()), (3, true));
    }

    #[test]
    fn what_is_misspelt_or_makes_no_sense_is_refused_by_name() {
        for (name, value) in [
            ("QUORATE_LISTN", "127.0.0.1:1"),
            ("QUORATE_LISTEN", "localhost"),
            ("QUORATE_PARTIES", "three"),
            ("MPC_API_KEY", "short"),
            ("ALLOWED_IPS", "everybody"),
            ("QUORATE_LOG_FORMAT", "xml"),
            ("MPC_API_KEY_FILE", "/nowhere/at/all"),
        ] {
            let error = read(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            assert!(!error.contains("short"), "a secret was shown: {error}");
        }
    }

    #[test]
    fn a_secret_comes_from_a_file_too_but_not_from_both() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "correct horse battery\n").unwrap();
        let path = file.path().to_str().unwrap();
        assert!(read(&[("MPC_API_KEY_FILE", path)]).unwrap().http.key.is_some());
        let both = read(&[("MPC_API_KEY_FILE", path), ("MPC_API_KEY", "correct horse battery")]);
        assert!(both.is_err());
    }
}
