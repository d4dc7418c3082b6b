//! RabbitMQ's definitions: its queues and topics, and which user may do what. The server reads them at every start.
//!
//! Every role has a user of its own, and so has every party. A user may make queues in which announcements wait for it, and
//! nothing else: none may change or delete what others use. A party reads its own queue of plans, announces its own
//! presence and what its components say, and hears which sessions were cancelled. It reads and fills no other queue.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quorate_backends::queue::{
    BrokerLayout, MAX_WAITING_ANNOUNCEMENTS, MAX_WAITING_BYTES, QueueArgument, Routing,
};
use quorate_core::identity::PublicKey;
use quorate_net::topics::{CANCELLED, FRAMES, REPORTS, broker_layout, events_of, presence_of, queue_of};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::layout::{ACCOUNT, COORDINATOR, PARTIES, QUEUE_USERS, ROUTER};
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
    let mut users = vec![];
    for user in QUEUE_USERS {
        users.push(QueueUser { name: user.name, key: None, password: secret(user.file)? });
    }
    for party in &PARTIES {
        let key = Some(settings.identity_of(party).map_err(|finding| finding.to_string())?);
        let password = secret(&format!("{}/rabbitmq_password", party.name))?;
        users.push(QueueUser { name: party.name, key, password });
    }
    Ok(serde_json::to_string(&definitions(namespace, &users))?)
}

/// The connections and channels that a party may have at a time: far more than its processes need.
const MAX_PARTY_CONNECTIONS: u32 = 8;
const MAX_PARTY_CHANNELS: u32 = 64;

/// How long a listener's queue and its messages are kept that no process reads, in milliseconds.
const UNUSED_LISTENER_MILLIS: u32 = 60_000;

/// RabbitMQ's own name of the only virtual host.
const VHOST: &str = "/";

/// A user of RabbitMQ.
struct QueueUser {
    name: &'static str,
    /// The identity key of a party, which names its queue; the other users are roles.
    key: Option<PublicKey>,
    password: Zeroizing<String>,
}

#[derive(Serialize)]
struct Definitions {
    vhosts: Vec<VirtualHost>,
    users: Vec<BrokerUser>,
    permissions: Vec<Permission>,
    exchanges: Vec<Exchange>,
    queues: Vec<QueueDefinition>,
    bindings: Vec<Binding>,
    policies: Vec<Policy>,
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
    limits: Map<String, Value>,
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
    arguments: Map<String, Value>,
}

#[derive(Serialize)]
struct QueueDefinition {
    name: String,
    vhost: &'static str,
    durable: bool,
    auto_delete: bool,
    arguments: Map<String, Value>,
}

/// Limits of queues that users make themselves.
#[derive(Serialize)]
struct Policy {
    vhost: &'static str,
    name: &'static str,
    pattern: String,
    #[serde(rename = "apply-to")]
    apply_to: &'static str,
    definition: Map<String, Value>,
    priority: u8,
}

#[derive(Serialize)]
struct Binding {
    source: String,
    vhost: &'static str,
    destination: String,
    destination_type: &'static str,
    routing_key: String,
    arguments: Map<String, Value>,
}

/// `namespace` is what names of queues and exchanges begin with.
fn definitions(namespace: &str, users: &[QueueUser]) -> Definitions {
    let parties: Vec<PublicKey> = users.iter().filter_map(|user| user.key).collect();
    let BrokerLayout { exchanges, queues } = broker_layout(namespace, &parties);
    let exchange = |name, routing| Exchange {
        name,
        vhost: VHOST,
        r#type: match routing {
            Routing::Fanout => "fanout",
            Routing::Direct => "direct",
        },
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: Map::new(),
    };
    let value = |argument: &QueueArgument| match argument {
        QueueArgument::Text(text) => Value::from(text.as_str()),
        QueueArgument::Number(number) => Value::from(*number),
    };
    let bindings = queues.iter().map(|queue| Binding {
        source: queue.exchange.clone(),
        vhost: VHOST,
        destination: queue.name.clone(),
        destination_type: "queue",
        routing_key: queue.key.clone(),
        arguments: Map::new(),
    });
    // Announcements are of use for a moment: what a user leaves behind is gone soon, and never much.
    let limits = json!({
        "max-length": MAX_WAITING_ANNOUNCEMENTS,
        "max-length-bytes": MAX_WAITING_BYTES,
        "message-ttl": UNUSED_LISTENER_MILLIS,
        "expires": UNUSED_LISTENER_MILLIS,
    });
    let listeners = Policy {
        vhost: VHOST,
        name: "listeners",
        pattern: format!("^{}[.]listener[.]", namespace.replace('.', "[.]")),
        apply_to: "queues",
        definition: limits.as_object().cloned().unwrap_or_default(),
        priority: 1,
    };
    Definitions {
        policies: vec![listeners],
        vhosts: vec![VirtualHost { name: VHOST }],
        users: users.iter().map(stored).collect(),
        permissions: users.iter().map(|user| permission(namespace, user)).collect(),
        exchanges: exchanges.into_iter().map(|it| exchange(it.name, it.routing)).collect(),
        bindings: bindings.collect(),
        queues: queues
            .iter()
            .map(|queue| QueueDefinition {
                name: queue.name.clone(),
                vhost: VHOST,
                durable: true,
                auto_delete: false,
                arguments: queue.arguments.iter().map(|(name, it)| ((*name).to_owned(), value(it))).collect(),
            })
            .collect(),
    }
}

/// What a user may do. RabbitMQ takes regular expressions.
fn permission(namespace: &str, user: &QueueUser) -> Permission {
    let own = format!("listener.{}.", user.name);
    let topic = |topic: &str| format!("topic.{topic}");
    let (write, read) = match (&user.key, user.name) {
        (Some(key), _) => {
            (vec![topic(&presence_of(key)), topic(&events_of(key))], vec![queue_of(key), topic(CANCELLED)])
        }
        (None, COORDINATOR) => {
            (vec!["queues".into(), topic(CANCELLED), topic(REPORTS)], vec![topic(REPORTS)])
        }
        (None, ROUTER) => (vec![topic(FRAMES)], vec![topic(FRAMES)]),
        (None, _) => (vec![], vec![]),
    };
    let escaped = |name: &str| name.replace('.', "[.]");
    let allowed = |names: &[String]| -> Vec<String> {
        std::iter::once(escaped(&own) + ".*").chain(names.iter().map(|name| escaped(name))).collect()
    };
    let pattern = |names: Vec<String>| format!("^{}[.]({})$", escaped(namespace), names.join("|"));
    let mut read = allowed(&read);
    // What all parties announce.
    let of_parties = match (&user.key, user.name) {
        (None, COORDINATOR) => Some("topic.presence."),
        (None, ACCOUNT) => Some("topic.events."),
        _ => None,
    };
    read.extend(of_parties.map(|topics| escaped(topics) + "[0-9a-f]+"));
    Permission {
        user: user.name.into(),
        vhost: VHOST,
        configure: pattern(allowed(&[])),
        write: pattern(allowed(&write)),
        read: pattern(read),
    }
}

/// A user as RabbitMQ stores it: four bytes of salt, and SHA-256 of salt and password. The salt follows from name and
/// password, so that the file changes only when a password does.
fn stored(user: &QueueUser) -> BrokerUser {
    let QueueUser { name, key, password } = user;
    let seed = Sha256::digest(format!("{name}:{}", password.as_str()));
    let salt = &seed[..4];
    let hash = Sha256::new().chain_update(salt).chain_update(password.as_bytes()).finalize();
    let limits = match key {
        Some(_) => {
            json!({ "max-connections": MAX_PARTY_CONNECTIONS, "max-channels": MAX_PARTY_CHANNELS })
        }
        None => json!({}),
    };
    BrokerUser {
        name: (*name).into(),
        password_hash: STANDARD.encode([salt, &hash].concat()),
        hashing_algorithm: "rabbit_password_hashing_sha256",
        tags: "",
        limits: limits.as_object().cloned().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::deployment::testing::TestDeployment;

    fn user(name: &'static str, key: Option<PublicKey>, password: &str) -> QueueUser {
        QueueUser { name, key, password: Zeroizing::new(password.into()) }
    }

    fn sample() -> Value {
        let parties = [("party-1", 0xab), ("party-2", 0xcd)];
        let parties = parties.map(|(name, byte)| user(name, Some(PublicKey([byte; 32])), "secret"));
        let roles = QUEUE_USERS.map(|role| user(role.name, None, "secret"));
        let users: Vec<QueueUser> = roles.into_iter().chain(parties).collect();
        serde_json::to_value(definitions("quo.rate", &users)).unwrap()
    }

    fn names(list: &Value) -> Vec<&str> {
        list.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn everybody_may_do_what_the_role_needs_and_nothing_else() {
        let sample = sample();
        let key = "ab".repeat(32);
        let expected = [
            (
                "coordinator",
                "queues|topic[.]cancelled|topic[.]reports".to_owned(),
                "topic[.]reports|topic[.]presence[.][0-9a-f]+".to_owned(),
            ),
            ("router", "topic[.]frames".into(), "topic[.]frames".into()),
            ("account", String::new(), "topic[.]events[.][0-9a-f]+".into()),
            (
                "party-1",
                format!("topic[.]presence[.]{key}|topic[.]events[.]{key}"),
                format!("party[.]{key}|topic[.]cancelled"),
            ),
        ];
        for (permission, (user, write, read)) in
            sample["permissions"].as_array().unwrap().iter().zip(expected)
        {
            let own = format!("listener[.]{user}[.].*");
            let with = |rest: &str| {
                let bar = if rest.is_empty() { "" } else { "|" };
                format!("^quo[.]rate[.]({own}{bar}{rest})$")
            };
            assert_eq!(permission["user"], user);
            assert_eq!(permission["configure"], with(""));
            assert_eq!(
                (&permission["write"], &permission["read"]),
                (&with(&write).into(), &with(&read).into())
            );
        }
    }

    #[test]
    fn all_that_roles_use_is_there() {
        let sample = sample();
        let (one, two) = ("ab".repeat(32), "cd".repeat(32));
        let exchanges = names(&sample["exchanges"]);
        for topic in [
            "cancelled",
            "reports",
            "frames",
            &format!("presence.{one}"),
            &format!("presence.{two}"),
            &format!("events.{one}"),
            &format!("events.{two}"),
        ] {
            assert!(
                exchanges.contains(&format!("quo.rate.topic.{topic}").as_str()),
                "{topic}: {exchanges:?}"
            );
        }
        let queues = names(&sample["queues"]);
        assert_eq!(queues.len(), 4);
        for key in [&one, &two] {
            let queue = format!("quo.rate.party.{key}");
            assert!(queues.contains(&queue.as_str()) && queues.contains(&format!("{queue}.dead").as_str()));
            let bindings = sample["bindings"].as_array().unwrap();
            let binding = bindings.iter().find(|binding| binding["destination"] == queue.as_str()).unwrap();
            assert_eq!(binding["source"], "quo.rate.queues");
            assert_eq!(binding["routing_key"], format!("party.{key}"));
        }
        let limits = |index: usize| &sample["users"][index]["limits"];
        assert_eq!((limits(0), &limits(3)["max-connections"]), (&json!({}), &json!(8)));
    }

    #[test]
    fn definitions_have_every_party_with_its_own_key() {
        let deployment = TestDeployment::new();
        let keys = ["01", "02", "03"].map(|byte| byte.repeat(32)).join(",");
        deployment.set("QUORATE_PARTY_KEYS", &keys);
        deployment.set("QUORATE_USER_PARTY_KEY", &"04".repeat(32));
        let definitions = definitions_of(&deployment.settings()).unwrap();
        let definitions: Value = serde_json::from_str(&definitions).unwrap();
        let permissions = definitions["permissions"].as_array().unwrap();
        assert_eq!(permissions.len(), QUEUE_USERS.len() + PARTIES.len());
        for (permission, (party, byte)) in
            permissions[QUEUE_USERS.len()..].iter().zip(PARTIES.iter().zip(["01", "02", "03", "04"]))
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
        let hash_of =
            |name, password| STANDARD.decode(stored(&user(name, None, password)).password_hash).unwrap();
        let hash = hash_of("party-1", "secret");
        let (salt, digest) = hash.split_at(4);
        assert_eq!(digest, Sha256::digest([salt, b"secret"].concat()).as_slice());
        assert_eq!(hash, hash_of("party-1", "secret"));
        assert_ne!(hash, hash_of("party-1", "secreT"));
        assert_ne!(hash[..4], hash_of("party-2", "secret")[..4]);
        assert!(!sample().to_string().contains("secret"));
    }
}
