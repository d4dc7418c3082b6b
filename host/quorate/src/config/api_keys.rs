//! API keys: one list for each kind of call. A role that checks keys is given their hashes only.

use quorate_net::web::guard::ApiKeyHashes;

use super::environment::is_example;
use super::read::{ConfigError, Variables};

/// The calls that a list of API keys allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiKeyKind {
    /// Those of backends to the account service: creating accounts and signing.
    Sign,
    /// Those of users' backends to the party API: users' shares.
    Shares,
    /// Those of operators to the coordinator: the state of sessions and parties.
    Operate,
}

impl ApiKeyKind {
    /// All kinds.
    pub(crate) const ALL: [Self; 3] = [Self::Sign, Self::Shares, Self::Operate];

    /// The setting with the keys.
    pub(crate) const fn setting(self) -> &'static str {
        match self {
            Self::Sign => "MPC_API_KEY",
            Self::Shares => "MPC_SHARES_API_KEY",
            Self::Operate => "MPC_OPERATOR_API_KEY",
        }
    }

    /// The setting with their hashes.
    pub(crate) const fn hashes_setting(self) -> &'static str {
        match self {
            Self::Sign => "MPC_API_KEY_SHA256",
            Self::Shares => "MPC_SHARES_API_KEY_SHA256",
            Self::Operate => "MPC_OPERATOR_API_KEY_SHA256",
        }
    }
}

/// The hashes of all API keys.
#[derive(Debug)]
pub struct ApiKeysConfig {
    /// `MPC_API_KEY_SHA256`: of the keys of backends. Where all roles are in one process, `MPC_API_KEY` names the keys
    /// themselves; one is made and kept in the data folder if neither is set.
    pub sign: Option<ApiKeyHashes>,
    /// `MPC_SHARES_API_KEY_SHA256`: of the keys of users' backends.
    pub shares: Option<ApiKeyHashes>,
    /// `MPC_OPERATOR_API_KEY_SHA256`: of the keys of operators.
    pub operate: Option<ApiKeyHashes>,
    /// The settings that held keys instead of hashes.
    plain: Vec<&'static str>,
}

impl ApiKeysConfig {
    pub(super) fn read(variables: &mut Variables) -> Result<Self, ConfigError> {
        let [sign, shares, operate] = ApiKeyKind::ALL.map(|kind| KeysOfKind::read(variables, kind));
        let (sign, shares, operate) = (sign?, shares?, operate?);
        let plain = [sign.plain, shares.plain, operate.plain].into_iter().flatten().collect();
        Ok(Self { sign: sign.hashes, shares: shares.hashes, operate: operate.hashes, plain })
    }

    /// Refuses keys where hashes are enough. A process that holds a key can present it to another one.
    ///
    /// # Errors
    /// [`ConfigError::PlainKey`].
    pub(crate) fn check_for_roles(&self) -> Result<(), ConfigError> {
        self.plain.first().map_or(Ok(()), |name| Err(ConfigError::PlainKey(name)))
    }
}

/// Keys that everybody knows: those of `.env.example`, and the empty one.
const EXAMPLE_KEYS: [&str; 4] =
    ["change-me-api-key", "change-me-shares-api-key", "change-me-operator-api-key", ""];

/// What is set of one kind.
struct KeysOfKind {
    hashes: Option<ApiKeyHashes>,
    /// The setting, if it held keys instead of hashes.
    plain: Option<&'static str>,
}

impl KeysOfKind {
    fn read(variables: &mut Variables, kind: ApiKeyKind) -> Result<Self, ConfigError> {
        let (setting, hashes_setting) = (kind.setting(), kind.hashes_setting());
        match (variables.secret(setting)?, variables.secret(hashes_setting)?) {
            (None, None) => Ok(Self { hashes: None, plain: None }),
            (None, Some(list)) => {
                let wanted =
                    "the SHA-256 hash of each key, with commas between: `quorate key hash` makes them";
                let invalid = |_| ConfigError::Invalid { name: hashes_setting, wanted };
                let hashes: ApiKeyHashes = list.parse().map_err(invalid)?;
                if EXAMPLE_KEYS.iter().any(|key| hashes.are_of(key)) {
                    variables.note_example(hashes_setting);
                }
                Ok(Self { hashes: Some(hashes), plain: None })
            }
            (Some(keys), None) => {
                if keys.split(',').any(is_example) {
                    variables.note_example(setting);
                }
                let wanted = "1 to 16 keys of 16 characters or more, with commas between";
                let invalid = |_| ConfigError::Invalid { name: setting, wanted };
                let hashes = ApiKeyHashes::of_list(&keys).map_err(invalid)?;
                Ok(Self { hashes: Some(hashes), plain: Some(setting) })
            }
            (Some(_), Some(_)) => Err(ConfigError::KeysAndHashes(setting)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError};

    fn read(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(settings.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    }

    #[test]
    fn roles_take_hashes_and_refuse_keys() {
        for name in ["MPC_API_KEY", "MPC_SHARES_API_KEY", "MPC_OPERATOR_API_KEY"] {
            let config = read(&[(name, "correct horse battery")]).unwrap();
            let refused = config.keys.check_for_roles().unwrap_err().to_string();
            assert!(refused.contains(&format!("{name}_SHA256")), "{refused}");
            let hash = "ab".repeat(32);
            let config = read(&[(&format!("{name}_SHA256"), &hash)]).unwrap();
            config.keys.check_for_roles().unwrap();
            let both = read(&[(name, "correct horse battery"), (&format!("{name}_SHA256"), &hash)]);
            assert!(matches!(both, Err(ConfigError::KeysAndHashes(setting)) if setting == name));
            let wrong = read(&[(&format!("{name}_SHA256"), "correct horse battery")]).unwrap_err();
            assert!(!wrong.to_string().contains("horse"), "a key was shown: {wrong}");
        }
    }

    #[test]
    fn production_takes_no_hash_of_a_key_that_everybody_knows() {
        let example = include_str!("../../../../.env.example");
        for kind in super::ApiKeyKind::ALL {
            let line = example.lines().find_map(|line| line.strip_prefix(&format!("{}=", kind.setting())));
            assert!(super::EXAMPLE_KEYS.contains(&line.unwrap()), "{kind:?}");
        }
        // sha256sum(1) of nothing.
        let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let of_example =
            quorate_net::web::guard::ApiKeyHashes::of_list("change-me-api-key").unwrap().to_list();
        let good = "ab".repeat(32);
        for (list, is_taken) in
            [(good.clone(), true), (of_nothing.to_owned(), false), (format!("{good},{of_example}"), false)]
        {
            let config = read(&[("ENVIRONMENT", "production"), ("MPC_API_KEY_SHA256", &list)]).unwrap();
            assert_eq!(config.check_for_production(&[], &[]).is_ok(), is_taken, "{list}");
        }
    }

    #[test]
    fn keys_and_their_hashes_mean_the_same() {
        let keys = read(&[("MPC_API_KEY", "correct horse battery,another key for callers")]).unwrap();
        let list = keys.keys.sign.as_ref().unwrap().to_list();
        let hashes = read(&[("MPC_API_KEY_SHA256", &list)]).unwrap();
        assert_eq!(keys.keys.sign, hashes.keys.sign);
        assert!(keys.keys.shares.is_none() && keys.keys.operate.is_none());
    }
}
