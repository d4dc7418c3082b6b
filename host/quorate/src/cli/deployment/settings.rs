//! The settings of a deployment: `.env`, and the defaults of `docker-compose.yml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quorate_core::identity::{PublicKey, SecretKey};
use quorate_net::join_token::JoinKey;
use quorate_net::web::guard::ApiKeyHashes;
use zeroize::Zeroizing;

use super::env_file::{EnvFile, read_bounded};
use super::finding::Finding;
use super::layout::{
    Origin, PARTIES, PartyLayout, REPLICA_ADDRESSES, SCRIPT_SETTINGS, SECRETS, SecretLayout,
};
use crate::config::ApiKeyKind;

/// The folder of a deployment, with what an operator has set.
pub(super) struct DeploymentSettings {
    folder: PathBuf,
    env: EnvFile,
    defaults: BTreeMap<String, String>,
    compose_names: Vec<String>,
}

impl DeploymentSettings {
    /// Reads `.env` and `docker-compose.yml` in a folder.
    ///
    /// # Errors
    /// A finding, when one of the two can't be read or is malformed.
    pub(super) fn read(folder: &Path) -> Result<Self, Finding> {
        let compose = read_bounded(&folder.join("docker-compose.yml")).map_err(|error| {
            let what = format!("docker-compose.yml can't be read: {error}");
            Finding::refused(what, "put the file of this version beside deploy.sh")
        })?;
        let mut defaults = defaults_of(&String::from_utf8_lossy(&compose));
        // `files` makes this one.
        defaults.remove("SECRETS_HASH");
        let compose_names = defaults.keys().cloned().collect();
        defaults.extend(SCRIPT_SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let env = EnvFile::read(&folder.join(".env"))?;
        Ok(Self { folder: folder.to_owned(), env, defaults, compose_names })
    }

    /// A setting that is not empty; its default otherwise.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let default = || self.defaults.get(name).map(String::as_str).filter(|value| !value.is_empty());
        self.env.get(name).or_else(default)
    }

    /// The setting, or an empty text.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    pub(super) fn is_production(&self) -> bool {
        self.text("ENVIRONMENT") == "production"
    }

    pub(super) fn has_replicas(&self) -> bool {
        self.text("REPLICAS") == "2"
    }

    /// The names in `.env`.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.env.names()
    }

    /// The names that `docker-compose.yml` takes from the environment, except for the addresses that `files` makes.
    pub(super) fn compose_names(&self) -> impl Iterator<Item = &str> {
        let is_made = |name: &&str| REPLICA_ADDRESSES.iter().any(|addresses| addresses.setting == *name);
        self.compose_names.iter().map(String::as_str).filter(move |name| !is_made(name))
    }

    /// Whether `docker-compose.yml`, `deploy.sh` or a secret of the layout has this name.
    pub(super) fn is_known(&self, name: &str) -> bool {
        self.defaults.contains_key(name) || password_settings().any(|known| known == name)
    }

    /// The settings that processes of Quorate read, with defaults and with the addresses of replicas.
    pub(super) fn for_processes(&self) -> Vec<(String, String)> {
        let names =
            self.defaults.keys().map(String::as_str).chain(password_settings().map(|name| -> &str { name }));
        let is_ours =
            |name: &&str| !name.ends_with("_IMAGE") && !matches!(*name, "QUORATE_UID" | "QUORATE_GID");
        let mut settings: Vec<(String, String)> =
            names.filter(is_ours).map(|name| (name.to_owned(), self.text(name).to_owned())).collect();
        for (name, addresses) in self.replica_addresses() {
            settings.retain(|(other, _)| other != name);
            settings.push((name.to_owned(), addresses));
        }
        settings
    }

    /// The addresses of all coordinators and routers.
    pub(super) fn replica_addresses(&self) -> Vec<(&'static str, String)> {
        let count = if self.has_replicas() { 2 } else { 1 };
        let addresses = |layout: super::layout::ReplicaAddresses| {
            let own = self.env.get(layout.setting).map(str::to_owned);
            (layout.setting, own.unwrap_or_else(|| layout.addresses[..count].join(",")))
        };
        REPLICA_ADDRESSES.map(addresses).into()
    }

    /// The folder with all secrets.
    pub(super) fn secrets(&self) -> PathBuf {
        self.folder.join("secrets")
    }

    /// The text of a secret: of its setting, or of its file without the end of its line.
    ///
    /// # Errors
    /// A finding, when it is not there.
    pub(super) fn secret(&self, secret: &SecretLayout) -> Result<Zeroizing<String>, Finding> {
        match secret.origin {
            Origin::Setting(name) => {
                let missing = || Finding::refused(format!("{name} in .env is not set"), PASSWORD_REMEDY);
                Ok(Zeroizing::new(self.get(name).ok_or_else(missing)?.to_owned()))
            }
            Origin::KeyHashes(kind) => Ok(Zeroizing::new(self.key_hashes(kind)?.to_list())),
            Origin::PublicKeys(name) => {
                let key = JoinKey::new(self.text(name)).map_err(|error| {
                    Finding::refused(format!("{name} in .env can't be used: {error}"), PASSWORD_REMEDY)
                })?;
                Ok(Zeroizing::new(key.public().to_string()))
            }
            Origin::Generated => {
                let bytes = read_bounded(&self.secrets().join(secret.file))
                    .map_err(|error| unreadable(secret.file, &error))?;
                let text = std::str::from_utf8(&bytes).map_err(|_| {
                    Finding::refused(
                        format!("secrets/{} is not text", secret.file),
                        "restore it from a backup",
                    )
                })?;
                Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
        }
    }

    /// The hashes of the API keys of one kind.
    ///
    /// # Errors
    /// A finding, when `.env` has none that can be used.
    pub(super) fn key_hashes(&self, kind: ApiKeyKind) -> Result<ApiKeyHashes, Finding> {
        ApiKeyHashes::of_list(self.text(kind.setting())).map_err(|error| {
            let what = format!("{} in .env can't be used: {error}", kind.setting());
            Finding::refused(
                what,
                "give one key or several, with commas between; `openssl rand -hex 32` makes one",
            )
        })
    }

    /// The API keys of one kind. Several are valid while one takes the place of another.
    pub(super) fn api_keys(&self, kind: ApiKeyKind) -> impl Iterator<Item = &str> {
        self.text(kind.setting()).split(',')
    }

    /// The secret of a file of the layout.
    ///
    /// # Errors
    /// A finding, when it is not there.
    pub(super) fn secret_in(&self, file: &str) -> Result<Zeroizing<String>, Finding> {
        let secret = SECRETS.iter().find(|secret| secret.file == file);
        let unknown = || Finding::refused(format!("there is no secret {file}"), "take another file");
        self.secret(secret.ok_or_else(unknown)?)
    }

    /// The public identity key of a party, as `.env` names it.
    ///
    /// # Errors
    /// A finding, when `.env` does not.
    pub(super) fn identity_of(&self, party: &PartyLayout) -> Result<PublicKey, Finding> {
        let mut numbered = PARTIES.iter().filter(|other| !other.is_users_party);
        let (setting, index) = match numbered.position(|other| other.name == party.name) {
            Some(index) => ("QUORATE_PARTY_KEYS", index),
            None => ("QUORATE_USER_PARTY_KEY", 0),
        };
        let key = self.text(setting).split(',').nth(index).and_then(public_key);
        key.ok_or_else(|| not_as_written(setting))
    }
}

/// How a password is made.
pub(super) const PASSWORD_REMEDY: &str = "give it a value of its own; `openssl rand -hex 32` makes one";

/// A setting that only `init` writes was changed or lost.
pub(super) fn not_as_written(setting: &str) -> Finding {
    Finding::refused(
        format!("{setting} in .env is not what ./deploy.sh init wrote"),
        "restore it from a backup: public keys of 64 hex characters with commas between, one for each party",
    )
}

fn unreadable(file: &str, error: &std::io::Error) -> Finding {
    let is_key = file.ends_with("identity") || file.ends_with("master_key");
    let remedy = match file {
        _ if error.kind() == std::io::ErrorKind::PermissionDenied => {
            "run this as the user who ran init, or as root"
        }
        _ if file.ends_with("_password") => {
            "restore it from a backup, or make another with `openssl rand -hex 32`"
        }
        _ if is_key => "restore it from a backup: no other file opens the shares of that party",
        _ => "restore it from a backup",
    };
    let what = match error.kind() {
        std::io::ErrorKind::NotFound => format!("secrets/{file} is missing"),
        _ => format!("secrets/{file} can't be read: {error}"),
    };
    Finding::refused(what, remedy)
}

/// Reads a public key in lower case.
pub(super) fn public_key(text: &str) -> Option<PublicKey> {
    let is_lower_case = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    is_lower_case.then(|| text.parse().ok()).flatten()
}

/// The public key of a seed of 64 hex characters.
pub(super) fn public_side(seed: &str) -> Option<PublicKey> {
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(seed, bytes.as_mut_slice()).ok()?;
    Some(SecretKey::from_seed(&bytes).public())
}

/// The settings with passwords and keys, each of which becomes a file.
pub(super) fn password_settings() -> impl Iterator<Item = &'static str> {
    SECRETS.iter().filter_map(|secret| match secret.origin {
        Origin::Setting(name) => Some(name),
        Origin::KeyHashes(kind) => Some(kind.setting()),
        Origin::PublicKeys(_) | Origin::Generated => None,
    })
}

/// Names and defaults of what a compose file takes from the environment: `${NAME:-default}` or `${NAME:?message}`.
fn defaults_of(compose: &str) -> BTreeMap<String, String> {
    let inside = compose.split("${").skip(1).filter_map(|part| part.split('}').next());
    let default = |inside: &str| match inside.split_once(":-") {
        Some((name, default)) => (name.to_owned(), default.to_owned()),
        None => (inside.split(":?").next().unwrap_or(inside).to_owned(), String::new()),
    };
    inside.map(default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::deployment::testing::TestDeployment;

    #[test]
    fn a_setting_that_is_empty_has_the_default_of_the_compose_file() {
        let deployment = TestDeployment::new();
        deployment.set("QUORATE_LOG", "");
        deployment.set("REPLICAS", "2");
        let settings = deployment.settings();
        assert_eq!((settings.text("QUORATE_LOG"), settings.text("UP_SECONDS")), ("info", "120"));
        assert!(settings.is_known("ALLOWED_IPS") && settings.is_known("PREBUILT"));
        assert!(!settings.is_known("ALLOWED_IP"));
        let routers = settings.for_processes().into_iter().find(|(name, _)| name == "QUORATE_ROUTERS");
        assert_eq!(routers.unwrap().1, "http://message-router:8082,http://message-router-2:8082");
    }

    #[test]
    fn a_secret_that_is_missing_is_named() {
        let deployment = TestDeployment::new();
        let missing = |file: &str| {
            std::fs::remove_file(deployment.secrets().join(file)).unwrap();
            deployment.settings().secret_in(file).unwrap_err().to_string()
        };
        assert!(missing("party-2/identity").contains("secrets/party-2/identity is missing"));
        assert!(missing("party-2/rabbitmq_password").contains("openssl rand -hex 32"));
        deployment.set("REDIS_PASSWORD", "");
        let said = deployment.settings().secret_in("shared/redis_password").unwrap_err().what;
        assert_eq!(said, "REDIS_PASSWORD in .env is not set");
    }

    #[test]
    fn keys_of_env_belong_to_parties_in_index_order() {
        let deployment = TestDeployment::new();
        let keys = ["01", "02", "03"].map(|byte| byte.repeat(32)).join(",");
        deployment.set("QUORATE_PARTY_KEYS", &keys);
        deployment.set("QUORATE_USER_PARTY_KEY", &"04".repeat(32));
        let keys = PARTIES.map(|party| deployment.settings().identity_of(&party).unwrap().0[0]);
        assert_eq!(keys, [1, 2, 3, 4]);
        deployment.set("QUORATE_PARTY_KEYS", "01,02");
        assert!(deployment.settings().identity_of(&PARTIES[2]).is_err());
    }
}
