//! RabbitMQ's definitions: which user may do what. The server reads them at every start.
//!
//! A party has its own queue of plans and its dead letters, announces its presence, and hears which sessions were
//! cancelled. It can neither read nor fill nor delete the queue of another party.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quorate_core::identity::PublicKey;
use quorate_net::topics::{CANCELLED, FRAMES, PRESENCE, REPORTS};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::layout::{PARTIES, TRUSTED_QUEUE_USER};
use super::settings::DeploymentSettings;
use crate::cli::output::CliError;
use crate::config::Namespace;

/// The definitions of a deployment, as JSON.
///
/// # Errors
/// When a setting or a secret is missing or malformed.
pub(super) fn definitions_of(settings: &DeploymentSettings) -> Result<String, CliError> {
    let namespace = settings.text("QUORATE_NAMESPACE");
    let wanted = "QUORATE_NAMESPACE: give up to 64 letters, digits, dots, dashes and underscores";
    namespace.parse::<Namespace>().map_err(|()| wanted)?;
    let secret = |file: &str| settings.secret_in(file).map_err(|finding| finding.to_string());
    let passwords = PARTIES.map(|party| secret(&format!("{}/rabbitmq_password", party.name)));
    let mut parties = vec![];
    for (party, password) in PARTIES.iter().zip(&passwords) {
        let key = settings.identity_of(party).map_err(|finding| finding.to_string())?;
        parties.push(QueueUser {
            name: party.name,
            key,
            password: password.as_ref().map_err(String::clone)?,
        });
    }
    Ok(serde_json::to_string(&definitions(namespace, &secret(TRUSTED_QUEUE_USER.1)?, &parties))?)
}

/// A party as a user of RabbitMQ.
struct QueueUser<'a> {
    name: &'a str,
    /// The party's identity key, which names its queue.
    key: PublicKey,
    password: &'a str,
}

#[derive(Serialize)]
struct Definitions {
    vhosts: Vec<VirtualHost>,
    users: Vec<BrokerUser>,
    permissions: Vec<Permission>,
    exchanges: Vec<Exchange>,
}

#[derive(Serialize)]
struct VirtualHost {
    name: &'static str,
}

#[derive(Serialize)]
struct BrokerUser {
    name: String,
    password_hash: String,
    hashing_algorithm: &'static str,
    tags: &'static str,
}

#[derive(Serialize)]
struct Permission {
    user: String,
    vhost: &'static str,
    configure: String,
    write: String,
    read: String,
}

#[derive(Serialize)]
struct Exchange {
    name: String,
    vhost: &'static str,
    r#type: &'static str,
    durable: bool,
    auto_delete: bool,
    internal: bool,
    arguments: serde_json::Map<String, serde_json::Value>,
}

/// `namespace` is what names of queues and exchanges begin with; `password` is that of coordinators and
/// routers.
fn definitions(namespace: &str, password: &str, parties: &[QueueUser<'_>]) -> Definitions {
    let prefix = namespace.replace('.', "[.]");
    let (trusted, own) = (TRUSTED_QUEUE_USER.0, format!("{prefix}[.].*|amq[.]gen.*"));
    let mut users = vec![user(trusted, password)];
    let mut permissions = vec![permission(trusted, &own, &format!("{own}|amq[.]default"), &own)];
    for party in parties {
        let own = format!("{prefix}[.]party[.]{}([.]dead)?|amq[.]gen.*", party.key);
        let topic = |topic: &str| format!("{own}|{prefix}[.]topic[.]{topic}");
        users.push(user(party.name, party.password));
        permissions.push(permission(party.name, &own, &topic(PRESENCE), &topic(CANCELLED)));
    }
    let exchange = |topic: &str| Exchange {
        name: format!("{namespace}.topic.{topic}"),
        vhost: "/",
        r#type: "fanout",
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: serde_json::Map::new(),
    };
    let exchanges = [PRESENCE, CANCELLED, REPORTS, FRAMES].map(exchange).into();
    Definitions { vhosts: vec![VirtualHost { name: "/" }], users, permissions, exchanges }
}

/// A user as RabbitMQ stores it: four bytes of salt, and SHA-256 of salt and password. The salt follows from name and
/// password, so that the file changes only when a password does.
fn user(name: &str, password: &str) -> BrokerUser {
    let seed = Sha256::digest(format!("{name}:{password}"));
    let salt = &seed[..4];
    let hash = Sha256::new().chain_update(salt).chain_update(password).finalize();
    BrokerUser {
        name: name.into(),
        password_hash: STANDARD.encode([salt, &hash].concat()),
        hashing_algorithm: "rabbit_password_hashing_sha256",
        tags: "",
    }
}

fn permission(user: &str, configure: &str, write: &str, read: &str) -> Permission {
    let whole = |pattern: &str| format!("^({pattern})$");
    Permission {
        user: user.into(),
        vhost: "/",
        configure: whole(configure),
        write: whole(write),
        read: whole(read),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::deployment::testing::TestDeployment;

    fn sample() -> serde_json::Value {
        let key = PublicKey([0xab; 32]);
        let parties = [QueueUser { name: "party-1", key, password: "secret of party 1" }];
        serde_json::to_value(definitions("quo.rate", "secret", &parties)).unwrap()
    }

    #[test]
    fn a_party_has_its_own_queue_and_two_topics() {
        let sample = sample();
        let [trusted, party] = [0, 1].map(|index| sample["permissions"][index].clone());
        assert_eq!(trusted["write"], "^(quo[.]rate[.].*|amq[.]gen.*|amq[.]default)$");
        let own = format!("quo[.]rate[.]party[.]{}([.]dead)?|amq[.]gen.*", "ab".repeat(32));
        assert_eq!(party["user"], "party-1");
        assert_eq!(party["configure"], format!("^({own})$"));
        assert_eq!(party["write"], format!("^({own}|quo[.]rate[.]topic[.]presence)$"));
        assert_eq!(party["read"], format!("^({own}|quo[.]rate[.]topic[.]cancelled)$"));
        let exchanges = sample["exchanges"].as_array().unwrap();
        let names: Vec<&str> = exchanges.iter().map(|exchange| exchange["name"].as_str().unwrap()).collect();
        let topics = ["presence", "cancelled", "reports", "frames"];
        assert_eq!(names, topics.map(|topic| format!("quo.rate.topic.{topic}")));
    }

    #[test]
    fn definitions_have_every_party_with_its_own_key() {
        let deployment = TestDeployment::new();
        let keys = ["01", "02", "03"].map(|byte| byte.repeat(32)).join(",");
        deployment.set("QUORATE_PARTY_KEYS", &keys);
        deployment.set("QUORATE_USER_PARTY_KEY", &"04".repeat(32));
        let definitions = definitions_of(&deployment.settings()).unwrap();
        let definitions: serde_json::Value = serde_json::from_str(&definitions).unwrap();
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
    fn a_missing_secret_or_key_is_named_and_none_is_shown() {
        let deployment = TestDeployment::new();
        let refused = || definitions_of(&deployment.settings()).unwrap_err().to_string();
        deployment.write_secret("party-1/rabbitmq_password", "a secret of party 1");
        deployment.set("QUORATE_PARTY_KEYS", "01,02");
        assert!(refused().contains("QUORATE_PARTY_KEYS in .env is not what"));
        deployment.set("QUORATE_NAMESPACE", "a/b");
        assert!(refused().contains("QUORATE_NAMESPACE"));
        std::fs::remove_file(deployment.secrets().join("party-2/rabbitmq_password")).unwrap();
        deployment.set("QUORATE_NAMESPACE", "");
        let said = refused();
        assert!(!said.contains("a secret of party 1"), "{said}");
    }

    /// RabbitMQ's own description of the format: base64 of the salt and of SHA-256 over salt and UTF-8 password.
    #[test]
    fn a_password_is_stored_as_a_salted_hash_that_changes_with_it_only() {
        let stored = |name, password| STANDARD.decode(user(name, password).password_hash).unwrap();
        let hash = stored("party-1", "secret");
        let (salt, digest) = hash.split_at(4);
        assert_eq!(digest, Sha256::digest([salt, b"secret"].concat()).as_slice());
        assert_eq!(hash, stored("party-1", "secret"));
        assert_ne!(hash, stored("party-1", "secreT"));
        assert_ne!(hash[..4], stored("party-2", "secret")[..4]);
        assert!(!sample().to_string().contains("secret"));
    }
}
