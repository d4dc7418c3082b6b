//! `quorate deployment`: the files that a deployment with compose is made of.

mod layout;
mod postgres;
mod rabbitmq;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use layout::{Origin, PARTIES, PartyLayout, SECRETS, SecretLayout, TRUSTED_QUEUE_USER};
use quorate_core::identity::PublicKey;
use rabbitmq::QueueUser;
use zeroize::Zeroizing;

use super::check::{settings, text_of};
use super::{Failure, print};
use crate::config::Namespace;

/// What to make.
#[derive(Args)]
pub(super) struct DeploymentArguments {
    #[command(subcommand)]
    command: DeploymentCommand,
}

#[derive(Subcommand)]
enum DeploymentCommand {
    /// Print RabbitMQ's definitions: users, their rights, exchanges
    RabbitmqDefinitions(Source),
    /// Print the script that makes databases and their roles
    PostgresRoles,
}

/// Where the deployment's settings and secrets are.
#[derive(Args)]
struct Source {
    /// The settings; `-` is standard input
    #[arg(long, default_value = ".env")]
    env: PathBuf,
    /// The folder with every party's keys
    #[arg(long, default_value = "secrets")]
    secrets: PathBuf,
}

pub(super) fn deployment(arguments: &DeploymentArguments) -> Result<(), Failure> {
    match &arguments.command {
        DeploymentCommand::RabbitmqDefinitions(source) => print(&rabbitmq_definitions(source)?),
        DeploymentCommand::PostgresRoles => print(&postgres::roles_script()),
    }
    Ok(())
}

fn rabbitmq_definitions(source: &Source) -> Result<String, Failure> {
    let settings = Settings::read(source)?;
    let namespace = settings.get("QUORATE_NAMESPACE").unwrap_or("quorate");
    let wanted = "QUORATE_NAMESPACE: give up to 64 letters, digits, dots, dashes and underscores";
    namespace.parse::<Namespace>().map_err(|()| wanted)?;
    let passwords: Vec<Zeroizing<String>> = PARTIES
        .iter()
        .map(|party| settings.secret(&format!("{}/rabbitmq_password", party.name)))
        .collect::<Result<_, _>>()?;
    let parties: Vec<QueueUser<'_>> = PARTIES
        .iter()
        .zip(&passwords)
        .map(|(party, password)| {
            Ok(QueueUser { name: party.name, key: settings.identity_of(party)?, password })
        })
        .collect::<Result<_, Failure>>()?;
    let trusted = settings.secret(TRUSTED_QUEUE_USER.1)?;
    Ok(serde_json::to_string(&rabbitmq::definitions(namespace, &trusted, &parties))?)
}

/// The settings and secrets of a deployment.
struct Settings<'a> {
    values: BTreeMap<String, Zeroizing<String>>,
    folder: &'a Path,
}

impl<'a> Settings<'a> {
    fn read(source: &'a Source) -> Result<Self, Failure> {
        let values = settings(&text_of(&source.env)?)?;
        let values = values.into_iter().map(|(name, value)| (name, Zeroizing::new(value))).collect();
        Ok(Self { values, folder: &source.secrets })
    }

    /// A setting that is there and not empty.
    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The secret in a file of the layout.
    fn secret(&self, file: &str) -> Result<Zeroizing<String>, Failure> {
        let layout = SECRETS.iter().find(|secret| secret.file == file);
        let SecretLayout { name: secret, origin, file } =
            layout.ok_or_else(|| format!("there is no secret {file}"))?;
        match origin {
            Origin::Setting(name) => {
                let value = self.get(name).ok_or_else(|| format!("{name} is not set"))?;
                Ok(Zeroizing::new(value.to_owned()))
            }
            Origin::Generated => {
                let path = self.folder.join(file);
                let missing =
                    |error| format!("{}: the secret {secret} can't be read: {error}", path.display());
                let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(missing)?);
                Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
        }
    }

    /// The identity key of a party, as `.env` names it.
    fn identity_of(&self, party: &PartyLayout) -> Result<PublicKey, Failure> {
        let numbered = PARTIES.iter().filter(|other| !other.is_users_party);
        let (setting, index) = match numbered.clone().position(|other| other.name == party.name) {
            Some(index) => ("QUORATE_PARTY_KEYS", index),
            None => ("QUORATE_USER_PARTY_KEY", 0),
        };
        let keys = self.get(setting).ok_or_else(|| format!("{setting} is not set: init writes it"))?;
        let mut key = [0; 32];
        let read = keys.split(',').nth(index).map(|text| hex::decode_to_slice(text.trim(), &mut key));
        match read {
            Some(Ok(())) => Ok(PublicKey(key)),
            _ => Err(format!("{setting}: give a public key of 64 hex characters for {}", party.name).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with the secrets of a deployment, and its settings.
    fn deployment() -> (tempfile::TempDir, Source) {
        let folder = tempfile::tempdir().unwrap();
        let (env, secrets) = (folder.path().join(".env"), folder.path().join("secrets"));
        for secret in SECRETS.iter().filter(|secret| secret.origin == Origin::Generated) {
            let path = secrets.join(secret.file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{} of a test\n", secret.name)).unwrap();
        }
        let keys = ["01", "02", "03"].map(|byte| byte.repeat(32)).join(",");
        let text = format!(
            "# a comment\nRABBITMQ_PASSWORD=trusted\nQUORATE_PARTY_KEYS={keys}\nQUORATE_USER_PARTY_KEY={}\n",
            "04".repeat(32)
        );
        std::fs::write(&env, text).unwrap();
        (folder, Source { env, secrets })
    }

    #[test]
    fn definitions_have_every_party_with_its_own_key() {
        let (_folder, source) = deployment();
        let definitions: serde_json::Value =
            serde_json::from_str(&rabbitmq_definitions(&source).unwrap()).unwrap();
        let permissions = definitions["permissions"].as_array().unwrap();
        assert_eq!(permissions.len(), 1 + PARTIES.len());
        for (permission, (party, byte)) in
            permissions[1..].iter().zip(PARTIES.iter().zip(["01", "02", "03", "04"]))
        {
            assert_eq!(permission["user"], party.name);
            assert!(permission["read"].as_str().unwrap().contains(&byte.repeat(32)), "{}", party.name);
        }
    }

    #[test]
    fn what_is_missing_is_named_and_no_secret_is_shown() {
        let (_folder, source) = deployment();
        let refused = |source: &Source| rabbitmq_definitions(source).unwrap_err().to_string();
        std::fs::write(&source.env, "RABBITMQ_PASSWORD=\n").unwrap();
        assert!(refused(&source).contains("QUORATE_PARTY_KEYS is not set"));
        let keys = "QUORATE_PARTY_KEYS=01,02\nQUORATE_USER_PARTY_KEY=04\nRABBITMQ_PASSWORD=trusted\n";
        std::fs::write(&source.env, keys).unwrap();
        assert!(refused(&source).contains("64 hex characters for party-1"));
        std::fs::remove_file(source.secrets.join("party-2/rabbitmq_password")).unwrap();
        let said = refused(&source);
        assert!(said.contains("party-2/rabbitmq_password") && !said.contains("trusted"), "{said}");
        std::fs::write(&source.env, "not a setting, but a secret\n").unwrap();
        assert_eq!(refused(&source), "line 1 is not NAME=value");
    }
}
