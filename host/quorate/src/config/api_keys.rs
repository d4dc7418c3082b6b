//! API keys: one list for each kind of call. A role that checks keys is given their hashes only.

use quorate_net::web::guard::ApiKeyHashes;

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
        let mut plain = Vec::new();
        let [sign, shares, operate] = ApiKeyKind::ALL.map(|kind| read(variables, kind, &mut plain));
        Ok(Self { sign: sign?, shares: shares?, operate: operate?, plain })
    }

    /// Refuses keys where hashes are enough. A process that holds a key can present it to another one.
    ///
    /// # Errors
    /// [`ConfigError::PlainKey`].
    pub(crate) fn check_for_roles(&self) -> Result<(), ConfigError> {
        self.plain.first().map_or(Ok(()), |name| Err(ConfigError::PlainKey(name)))
    }
}

fn read(
    variables: &mut Variables,
    kind: ApiKeyKind,
    plain: &mut Vec<&'static str>,
) -> Result<Option<ApiKeyHashes>, ConfigError> {
    let (setting, hashes_setting) = (kind.setting(), kind.hashes_setting());
    let hashes = variables.secret(hashes_setting)?;
    let Some(keys) = variables.secret(setting)? else {
        let wanted = "the SHA-256 hash of each key, with commas between: `quorate key hash` makes them";
        let invalid = |_| ConfigError::Invalid { name: hashes_setting, wanted };
        return hashes.map(|list| list.parse().map_err(invalid)).transpose();
    };
    if hashes.is_some() {
        return Err(ConfigError::KeysAndHashes(setting));
    }
    plain.push(setting);
    let wanted = "keys of 16 characters or more, at most 16, with commas between";
    let invalid = |_| ConfigError::Invalid { name: setting, wanted };
    Ok(Some(ApiKeyHashes::of_keys(keys.split(',').map(str::trim)).map_err(invalid)?))
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
            assert!(both.unwrap_err().to_string().contains(name));
            let wrong = read(&[(&format!("{name}_SHA256"), "correct horse battery")]).unwrap_err();
            assert!(!wrong.to_string().contains("horse"), "a key was shown: {wrong}");
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
