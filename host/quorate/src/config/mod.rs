//! Configuration: from the environment and from a file of the same names, one struct per concern. Names of ours that
//! are not listed here are refused: a misspelt setting must not be silently ignored. What one role does not need may
//! be set for the others.

mod api_keys;
mod environment;
mod plugins;
mod production;
mod rates;
mod read;
mod roles;
mod services;
mod tls;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_account::PresignatureMarks;
use quorate_core::presignatures::MAX_PRESIGNATURES;
use quorate_net::telemetry::{self, LogFormat};
use quorate_net::web::guard::AllowedAddresses;
use quorate_runtime::limits::DEFAULT_SANDBOX_MEMORY_BYTES;
use read::Variables;

pub use api_keys::{ApiKeyKind, ApiKeysConfig};
pub use environment::Environment;
pub(crate) use environment::is_example;
pub use plugins::{MinimumPlugins, PluginNotAllowed, PluginsConfig};
pub use rates::RatesConfig;
pub use read::ConfigError;
pub use roles::{RolesConfig, Seed};
pub use services::{Namespace, Patience, ServicesConfig};
pub use tls::TlsConfig;

/// All settings.
#[derive(Debug)]
pub struct Config {
    /// The purpose of the deployment.
    pub environment: Environment,
    /// The API.
    pub http: HttpConfig,
    /// The keys of callers.
    pub keys: ApiKeysConfig,
    /// The further settings of an embedded deployment.
    pub embedded: EmbeddedConfig,
    /// Which plugins are used.
    pub plugins: PluginsConfig,
    /// Keys and addresses, where roles are processes.
    pub roles: RolesConfig,
    /// The services that roles need where they are processes.
    pub services: ServicesConfig,
    /// TLS.
    pub tls: TlsConfig,
    /// How long operations may take.
    pub limits: LimitsConfig,
    /// The log.
    pub log: LogConfig,
    /// Names in the environment that look like settings of the services and are not settings of Quorate.
    pub unrecognised: Vec<String>,
    /// Secrets that are those of an example.
    examples: Vec<&'static str>,
    /// The names of all settings.
    names: BTreeSet<String>,
}

/// The API.
#[derive(Debug)]
pub struct HttpConfig {
    /// `QUORATE_LISTEN`: where the API listens. This machine only, unless you say otherwise: put TLS before it.
    pub listen: SocketAddr,
    /// `ALLOWED_IPS`: addresses and ranges that may call, separated by commas. Empty: all.
    pub allowed: AllowedAddresses,
    /// `TRUSTED_PROXIES`: addresses and ranges of proxies whose `X-Forwarded-For` is accepted.
    pub proxies: AllowedAddresses,
    /// How much callers may ask for.
    pub rates: RatesConfig,
}

/// An embedded deployment.
#[derive(Debug)]
pub struct EmbeddedConfig {
    /// `QUORATE_DATA`: where databases, keys and compiled plugins are kept.
    pub data: PathBuf,
    /// `QUORATE_ADMIN_SOCKET`: where a party listens to its operator; `admin.sock` in the data folder if you say
    /// nothing.
    pub admin_socket: Option<PathBuf>,
    /// `QUORATE_PARTIES`: how many parties; 2 to 16.
    pub parties: u16,
    /// `QUORATE_PLUGIN_FILES`: the components to run, separated by commas.
    pub plugins: Vec<PathBuf>,
}

/// How long operations may take.
#[derive(Clone, Copy, Debug)]
pub struct LimitsConfig {
    /// `QUORATE_SIGN_TIMEOUT_MS`: of a signing.
    pub sign: Duration,
    /// `QUORATE_SHARES_TIMEOUT_MS`: of a keygen or refresh, for each of its parties.
    pub shares_per_party: Duration,
    /// `QUORATE_SANDBOX_MEMORY_MB`, here in bytes: memory of all components of a party together. Sessions beyond that wait.
    pub sandbox_memory: usize,
    /// `QUORATE_SIGNATURES_PER_DAY`: how many signatures a party makes with one account in a day (UTC); `None`, by default: as many as
    /// orders ask for.
    pub signatures_per_day: Option<NonZeroU32>,
    /// `QUORATE_PRESIGNATURES_LOW` and `QUORATE_PRESIGNATURES_HIGH`: when the account service has parties make presignatures for an
    /// account that signs, and how many. With a high mark of 0 they make none.
    pub presignatures: PresignatureMarks,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            sign: Duration::from_secs(10),
            shares_per_party: Duration::from_secs(20),
            sandbox_memory: DEFAULT_SANDBOX_MEMORY_BYTES,
            signatures_per_day: None,
            presignatures: PresignatureMarks::default(),
        }
    }
}

/// The log.
#[derive(Debug)]
pub struct LogConfig {
    /// `QUORATE_LOG`: what is logged: `info`, `quorate=debug,warn`.
    pub filter: String,
    /// `QUORATE_LOG_FORMAT`: `text` or `json`.
    pub format: LogFormat,
}

impl Config {
    /// Where a party listens to its operator.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        let EmbeddedConfig { admin_socket, data, .. } = &self.embedded;
        admin_socket.clone().unwrap_or_else(|| data.join("admin.sock"))
    }

    /// The names of all settings.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        // The variable that names the file is not a setting in it.
        self.names.iter().map(String::as_str).chain(["QUORATE_CONFIG"])
    }

    /// Reads the environment of this process.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn from_env() -> Result<Self, ConfigError> {
        let text = |(name, value): (OsString, OsString)| {
            // A value that is not text becomes one that no setting accepts.
            Some((name.into_string().ok()?, value.into_string().unwrap_or_else(|_| "\u{fffd}".into())))
        };
        Self::read(std::env::vars_os().filter_map(text))
    }

    /// Reads variables.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn read(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let (unrecognised, variables): (Vec<_>, Vec<_>) =
            variables.into_iter().partition(|(name, _)| read::is_unrecognised(name));
        let mut variables = Variables::new(variables)?;
        let environment = variables.parsed("ENVIRONMENT", "development or production")?.unwrap_or_default();
        let mut config = Self {
            environment,
            http: HttpConfig::read(&mut variables)?,
            keys: ApiKeysConfig::read(&mut variables)?,
            embedded: EmbeddedConfig::read(&mut variables)?,
            plugins: PluginsConfig::read(&mut variables)?,
            roles: RolesConfig::read(&mut variables)?,
            services: ServicesConfig::read(&mut variables, environment)?,
            tls: TlsConfig::read(&mut variables)?,
            limits: LimitsConfig::read(&mut variables)?,
            examples: vec![],
            names: BTreeSet::new(),
            unrecognised: unrecognised.into_iter().map(|(name, _)| name).collect(),
            log: LogConfig::read(&mut variables)?,
        };
        // Where make puts components; of use to tests, and above.
        variables.take("QUORATE_PLUGINS");
        (config.examples, config.names) = variables.finish()?;
        if config.tls.files.identity.is_some() {
            config.roles.check_tls()?;
        }
        Ok(config)
    }
}

impl HttpConfig {
    fn read(variables: &mut Variables) -> Result<Self, ConfigError> {
        Ok(Self {
            listen: variables
                .parsed("QUORATE_LISTEN", "an address like 127.0.0.1:4000")?
                .unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 4000).into()),
            allowed: variables
                .parsed("ALLOWED_IPS", "addresses like 10.0.0.1 or 10.0.0.0/8, with commas between")?
                .unwrap_or_default(),
            proxies: variables
                .parsed("TRUSTED_PROXIES", "addresses like 10.0.0.1 or 10.0.0.0/8, with commas between")?
                .unwrap_or_default(),
            rates: RatesConfig::read(variables)?,
        })
    }
}

impl EmbeddedConfig {
    fn read(variables: &mut Variables) -> Result<Self, ConfigError> {
        Ok(Self {
            data: variables.take("QUORATE_DATA").map_or_else(|| "quorate-data".into(), PathBuf::from),
            admin_socket: variables.take("QUORATE_ADMIN_SOCKET").map(PathBuf::from),
            parties: variables.party_count("QUORATE_PARTIES")?.unwrap_or(3),
            plugins: match variables.take("QUORATE_PLUGIN_FILES") {
                Some(list) => list.split(',').map(str::trim).map(PathBuf::from).collect(),
                None => {
                    let folder = variables.take("QUORATE_PLUGINS").unwrap_or_else(|| "target/plugins".into());
                    plugins::components_in(Path::new(&folder))
                }
            },
        })
    }
}

/// What a size of memory is to be.
const MEGABYTES: &str = "a number of megabytes from 1 to 1000000";

impl LimitsConfig {
    fn read(variables: &mut Variables) -> Result<Self, ConfigError> {
        Ok(Self {
            sign: variables.millis("QUORATE_SIGN_TIMEOUT_MS")?.unwrap_or(LimitsConfig::default().sign),
            shares_per_party: variables
                .millis("QUORATE_SHARES_TIMEOUT_MS")?
                .unwrap_or(LimitsConfig::default().shares_per_party),
            signatures_per_day: NonZeroU32::new(
                variables.parsed("QUORATE_SIGNATURES_PER_DAY", "a number; 0 for no limit")?.unwrap_or(0),
            ),
            sandbox_memory: match variables.parsed::<usize>("QUORATE_SANDBOX_MEMORY_MB", MEGABYTES)? {
                None => LimitsConfig::default().sandbox_memory,
                Some(megabytes @ 1..=1_000_000) => megabytes << 20,
                Some(_) => {
                    return Err(ConfigError::Invalid {
                        name: "QUORATE_SANDBOX_MEMORY_MB",
                        wanted: MEGABYTES,
                    });
                }
            },
            presignatures: read_marks(variables)?,
        })
    }
}

fn read_marks(variables: &mut Variables) -> Result<PresignatureMarks, ConfigError> {
    let default = PresignatureMarks::default();
    let low = variables.parsed("QUORATE_PRESIGNATURES_LOW", "a number from 0 to 256")?;
    let high = variables.parsed("QUORATE_PRESIGNATURES_HIGH", "a number from 0 to 256")?;
    let marks = PresignatureMarks { low: low.unwrap_or(default.low), high: high.unwrap_or(default.high) };
    let invalid = |name, wanted| Err(ConfigError::Invalid { name, wanted });
    if marks.high > MAX_PRESIGNATURES {
        return invalid("QUORATE_PRESIGNATURES_HIGH", "a number from 0 to 256");
    }
    if marks.high > 0 && marks.low > marks.high {
        return invalid("QUORATE_PRESIGNATURES_LOW", "a number that is not above QUORATE_PRESIGNATURES_HIGH");
    }
    Ok(marks)
}

impl LogConfig {
    fn read(variables: &mut Variables) -> Result<Self, ConfigError> {
        Ok(Self {
            filter: match variables.take("QUORATE_LOG") {
                None => "info".into(),
                Some(filter) if telemetry::is_filter(&filter) => filter,
                Some(_) => {
                    return Err(ConfigError::Invalid {
                        name: "QUORATE_LOG",
                        wanted: "something like info, or quorate=debug,warn",
                    });
                }
            },
            format: match variables.take("QUORATE_LOG_FORMAT").as_deref() {
                None | Some("text") => LogFormat::Text,
                Some("json") => LogFormat::Json,
                Some(_) => {
                    return Err(ConfigError::Invalid { name: "QUORATE_LOG_FORMAT", wanted: "text or json" });
                }
            },
        })
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
        assert_eq!((config.embedded.parties, config.keys.sign.is_none()), (3, true));
    }

    #[test]
    fn what_is_misspelt_or_makes_no_sense_is_refused_by_name() {
        for (name, value) in [
            ("QUORATE_LISTN", "127.0.0.1:1"),
            ("QUORATE_LISTEN", "localhost"),
            ("QUORATE_PARTIES", "three"),
            ("QUORATE_PARTIES", "1"),
            ("QUORATE_PARTIES", "17"),
            ("MPC_API_KEY", "short"),
            ("MPC_OPERATOR_API_KEY", "long enough to be one,short"),
            ("MPC_SHARES_API_KEY_SHA256", "short"),
            ("ALLOWED_IPS", "everybody"),
            ("QUORATE_FAILED_KEYS_PER_MINUTE", "many"),
            ("QUORATE_REQUESTS_PER_MINUTE", "-1"),
            ("QUORATE_ACCOUNT_REQUESTS_PER_MINUTE", "many"),
            ("QUORATE_SIGNATURES_PER_DAY", "1.5"),
            ("QUORATE_PRESIGNATURES_LOW", "129"),
            ("QUORATE_PRESIGNATURES_LOW", "few"),
            ("QUORATE_PRESIGNATURES_HIGH", "257"),
            ("QUORATE_PRESIGNATURES_HIGH", "31"),
            ("QUORATE_SANDBOX_MEMORY_MB", "0"),
            ("QUORATE_PRIVATE_NETWORKS", "0.0.0.0/0"),
            ("QUORATE_PRIVATE_NETWORKS", "http://postgres"),
            ("QUORATE_SANDBOX_MEMORY_MB", "1 GB"),
            ("QUORATE_LOG", "quorate=loud"),
            ("QUORATE_LOG", "inof"),
            ("QUORATE_LOG_FORMAT", "xml"),
            ("MPC_API_KEY_FILE", "/nowhere/at/all"),
            ("USER_SHARE_PLAINTEXT", "yes"),
            ("USER_SHARE_PLAIN", "true"),
            ("QUORATE_CONFIRM_SECONDS", "0"),
            ("QUORATE_SEALING_KEY_SECONDS", "2592001"),
            ("QUORATE_USER_PARTY_KEY", "short"),
            ("JWT_SECRET_KEY", "short"),
            ("JWT_SECRET", "of another name that is long enough to be one"),
            ("QUORATE_ACCOUNT_ROW_KEYS", "short"),
            ("QUORATE_ACCOUNT_ROW_KEYS", &format!("{},short", "ab".repeat(32))),
            ("QUORATE_FORMER_PARTY_KEYS", "short"),
            ("QUORATE_PLUGIN_DIGESTS", "short"),
            ("QUORATE_PLUGIN_GRANTS", "cggmp24=network"),
            ("QUORATE_MINIMUM_PLUGIN", "short"),
            ("QUORATE_MINIMUM_PLUGIN", "dkls23=short"),
            ("QUORATE_MINIMUM_PLUGIN", "dkls23=0.2.0,dkls23=0.3.0"),
            ("CRYPTO_MASTER_KEY", "short"),
            ("QUORATE_IDENTITY_KEY", "short"),
            ("QUORATE_PARTY_KEYS", "short"),
            ("QUORATE_PARTY_KEYS", &format!("{0},{0}", "ab".repeat(32))),
            ("QUORATE_ROUTERS", "router:8082"),
            ("QUORATE_NAMESPACE", "a b"),
            ("QUORATE_CONNECT_TRIES", "0"),
            ("QUORATE_SIGN_TIMEOUT_MS", "0"),
            ("QUORATE_SHARES_TIMEOUT_MS", "0"),
            ("POSTGRES_URL", "short"),
            ("RABBITMQ_URL", "short"),
            ("REDIS_URL", "short"),
            ("TLS_CERT_FILE", "cert.pem"),
            ("TLS_CLIENT_CA_FILE", "ca.pem"),
            ("QUORATE_CONFIG", "/nowhere/at/all"),
        ] {
            let error = read(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            assert!(!error.contains("short"), "a secret was shown: {error}");
        }
    }

    #[test]
    fn the_users_party_is_none_of_the_others() {
        let (own, other) = ("ab".repeat(32), "cd".repeat(32));
        let with = |user: &str| read(&[("QUORATE_PARTY_KEYS", &own), ("QUORATE_USER_PARTY_KEY", user)]);
        assert!(with(&other).is_ok());
        assert!(with(&own).unwrap_err().to_string().contains("QUORATE_USER_PARTY_KEY"));
        let former = |key: &str| read(&[("QUORATE_PARTY_KEYS", &own), ("QUORATE_FORMER_PARTY_KEYS", key)]);
        assert!(former(&other).is_ok());
        assert!(former(&own).unwrap_err().to_string().contains("QUORATE_FORMER_PARTY_KEYS"));
    }

    #[test]
    fn a_name_that_may_be_a_misspelt_one_is_pointed_out() {
        let config =
            read(&[("REDIS_ULR", "redis://a"), ("POSTGRES_USER", "b"), ("RABBITMQ_PASSWORD", "c")]).unwrap();
        assert_eq!(config.unrecognised, ["REDIS_ULR", "POSTGRES_USER"]);
    }

    #[test]
    fn with_tls_no_other_role_is_called_without_it() {
        let tls = [("TLS_CERT_FILE", "cert.pem"), ("TLS_KEY_FILE", "key.pem")];
        for name in ["QUORATE_COORDINATORS", "QUORATE_ROUTERS", "QUORATE_PARTY_APIS"] {
            let with = |addresses| read(&[tls[0], tls[1], (name, addresses)]);
            assert!(with("https://a:1,https://b:2").is_ok());
            let error = with("https://a:1,http://b:2").unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("https://"), "{error}");
        }
    }

    #[test]
    fn a_file_sets_what_the_environment_does_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        write(
            "QUORATE_PARTIES = 5\nQUORATE_LISTEN = \"127.0.0.1:1\"\nALLOWED_IPS = [\"::1\", \"10.0.0.0/8\"]\n",
        );
        let config = read(&[("QUORATE_CONFIG", path), ("QUORATE_LISTEN", "127.0.0.1:2")]).unwrap();
        assert_eq!((config.embedded.parties, config.http.listen.port()), (5, 2));
        assert_eq!(config.http.allowed, "::1,10.0.0.0/8".parse().unwrap());
        for bad in
            ["QUORATE_PARTYS = 5", "PATH = \"/bin\"", "JWT_SECRET_KEY = \"shortsecret", "[section]\na = 1"]
        {
            write(bad);
            let error = read(&[("QUORATE_CONFIG", path)]).unwrap_err().to_string();
            assert!(!error.contains("shortsecret"), "a secret was shown: {error}");
        }
    }

    #[test]
    fn a_secret_comes_from_a_file_too_but_not_from_both() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "correct horse battery\n").unwrap();
        let path = file.path().to_str().unwrap();
        assert!(read(&[("MPC_API_KEY_FILE", path)]).unwrap().keys.sign.is_some());
        let both = read(&[("MPC_API_KEY_FILE", path), ("MPC_API_KEY", "correct horse battery")]);
        assert!(both.is_err());
    }
}
