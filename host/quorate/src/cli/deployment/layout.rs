//! The parts of a deployment with compose, in one table: parties, databases, users at RabbitMQ, containers, and
//! secrets with their readers. All files of a deployment are made from this table; tests hold `docker-compose.yml`
//! against it.

use crate::config::ApiKeyKind;

/// Where a secret comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A setting of `.env`, copied to a file of its own.
    Setting(&'static str),
    /// The hashes of the API keys that a setting of `.env` has. A role that checks a key does not hold it.
    KeyHashes(ApiKeyKind),
    /// The public keys that belong to a secret of `.env`. A role that verifies does not hold what signs.
    PublicKeys(&'static str),
    /// Made by `init`, and kept in `secrets/` only.
    Generated,
}

/// A secret of the deployment.
#[derive(Clone, Copy, Debug)]
pub(super) struct SecretLayout {
    /// Its name in `docker-compose.yml`.
    pub(super) name: &'static str,
    /// Its file below `secrets/`.
    pub(super) file: &'static str,
    pub(super) origin: Origin,
    /// The containers that are given it, and no others.
    pub(super) readers: &'static [&'static str],
}

/// A party of the deployment.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartyLayout {
    /// Its folder below `secrets/`, its user at RabbitMQ, and the name of its replica.
    pub(super) name: &'static str,
    /// Whether it is the party whose shares users keep.
    pub(super) is_users_party: bool,
}

/// A database and the role of the same name that owns it.
#[derive(Clone, Copy, Debug)]
pub(super) struct DatabaseLayout {
    pub(super) name: &'static str,
    pub(super) kind: DatabaseKind,
    /// The most connections at a time: one party that takes all of its own must not shut out the others.
    pub(super) max_connections: u32,
}

/// Whose tables a database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DatabaseKind {
    Account,
    Coordinator,
    Party,
}

/// The parties, in index order; the users' party is the last.
pub(super) const PARTIES: [PartyLayout; 4] = [
    PartyLayout { name: "party-1", is_users_party: false },
    PartyLayout { name: "party-2", is_users_party: false },
    PartyLayout { name: "party-3", is_users_party: false },
    PartyLayout { name: "user-party", is_users_party: true },
];

/// The databases.
pub(super) const DATABASES: [DatabaseLayout; 6] = [
    DatabaseLayout { name: "account", kind: DatabaseKind::Account, max_connections: 40 },
    DatabaseLayout { name: "coordinator", kind: DatabaseKind::Coordinator, max_connections: 40 },
    DatabaseLayout { name: "party_1", kind: DatabaseKind::Party, max_connections: 25 },
    DatabaseLayout { name: "party_2", kind: DatabaseKind::Party, max_connections: 25 },
    DatabaseLayout { name: "party_3", kind: DatabaseKind::Party, max_connections: 25 },
    DatabaseLayout { name: "user_party", kind: DatabaseKind::Party, max_connections: 25 },
];

/// A role as a user of RabbitMQ.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueUserLayout {
    /// Its name there.
    pub(super) name: &'static str,
    /// The file of its password.
    pub(super) file: &'static str,
}

/// The names of coordinators and routers at RabbitMQ.
pub(super) const COORDINATOR: &str = "coordinator";
pub(super) const ROUTER: &str = "router";
pub(super) const ACCOUNT: &str = "account";

/// The roles at RabbitMQ; every party is a user too. The account service may read what others tell of running sessions.
pub(super) const QUEUE_USERS: [QueueUserLayout; 3] = [
    QueueUserLayout { name: COORDINATOR, file: "coordinator/rabbitmq_password" },
    QueueUserLayout { name: ROUTER, file: "router/rabbitmq_password" },
    QueueUserLayout { name: ACCOUNT, file: "account/rabbitmq_password" },
];

/// A container of the deployment.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServiceLayout {
    /// Its name in `docker-compose.yml`.
    pub(super) name: &'static str,
    pub(super) kind: ServiceKind,
}

/// The kind of process in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServiceKind {
    /// PostgreSQL, Redis or RabbitMQ.
    Infrastructure,
    /// One role of Quorate.
    Role,
    /// The second process of a role, with `REPLICAS=2`.
    Replica,
}

/// All containers.
pub(super) const SERVICES: [ServiceLayout; 13] = {
    use ServiceKind::{Infrastructure, Replica, Role};
    const fn service(name: &'static str, kind: ServiceKind) -> ServiceLayout {
        ServiceLayout { name, kind }
    }
    [
        service("postgres", Infrastructure),
        service("redis", Infrastructure),
        service("rabbitmq", Infrastructure),
        service("session-coordinator", Role),
        service("message-router", Role),
        service("server-party-1", Role),
        service("server-party-2", Role),
        service("server-party-3", Role),
        service("server-party-api", Role),
        service("account-service", Role),
        service("session-coordinator-2", Replica),
        service("message-router-2", Replica),
        service("account-service-2", Replica),
    ]
};

/// A setting with the addresses of all replicas of a role. `.env` may set it; otherwise the deployment does.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplicaAddresses {
    pub(super) setting: &'static str,
    /// The address with one replica, and what a second one adds.
    pub(super) addresses: [&'static str; 2],
}

/// The addresses of coordinators and routers.
pub(super) const REPLICA_ADDRESSES: [ReplicaAddresses; 2] = [
    ReplicaAddresses {
        setting: "QUORATE_COORDINATORS",
        addresses: ["http://session-coordinator:8081", "http://session-coordinator-2:8081"],
    },
    ReplicaAddresses {
        setting: "QUORATE_ROUTERS",
        addresses: ["http://message-router:8082", "http://message-router-2:8082"],
    },
];

/// The settings with the ports that are published on the machine. The last is used with `REPLICAS=2` only.
pub(super) const PORTS: [&str; 5] =
    ["ACCOUNT_PORT", "COORDINATOR_PORT", "ROUTER_PORT", "PARTY_API_PORT", "ACCOUNT_2_PORT"];

/// A port that is published only if its setting says so: no caller needs it.
pub(super) struct OptionalPort {
    /// The setting; empty: it is not published.
    pub(super) setting: &'static str,
    pub(super) service: &'static str,
    /// The port inside of the container.
    pub(super) port: u16,
}

pub(super) const OPTIONAL_PORTS: [OptionalPort; 2] = [
    OptionalPort { setting: "COORDINATOR_PORT", service: "session-coordinator", port: 8_081 },
    OptionalPort { setting: "ROUTER_PORT", service: "message-router", port: 8_082 },
];

/// Settings of `.env` that `docker-compose.yml` does not read, with their defaults.
pub(super) const SCRIPT_SETTINGS: [(&str, &str); 9] = [
    ("COORDINATOR_PORT", ""),
    ("ROUTER_PORT", ""),
    ("COMPOSE_PROJECT_NAME", "quorate"),
    ("REPLICAS", "1"),
    ("UP_SECONDS", "120"),
    ("RUST_IMAGE", "rust:1.95.0-bookworm"),
    ("PREBUILT", ""),
    ("COMPOSE_HTTP_TIMEOUT", ""),
    ("COMPOSE_PARALLEL_LIMIT", ""),
];

/// All secrets.
pub(super) const SECRETS: [SecretLayout; 34] = {
    use Origin::{Generated, KeyHashes, PublicKeys, Setting};
    const fn secret(
        name: &'static str,
        file: &'static str,
        origin: Origin,
        readers: &'static [&'static str],
    ) -> SecretLayout {
        SecretLayout { name, file, origin, readers }
    }
    const COORDINATORS: [&str; 2] = ["session-coordinator", "session-coordinator-2"];
    const ROUTERS: [&str; 2] = ["message-router", "message-router-2"];
    const ACCOUNTS: [&str; 2] = ["account-service", "account-service-2"];
    [
        secret("postgres_password", "shared/postgres_password", Setting("POSTGRES_PASSWORD"), &["postgres"]),
        secret(
            "redis_password",
            "shared/redis_password",
            Setting("REDIS_PASSWORD"),
            &["redis", ACCOUNTS[0], ACCOUNTS[1]],
        ),
        secret("jwt_secret_key", "shared/jwt_secret_key", Setting("JWT_SECRET_KEY"), &COORDINATORS),
        secret("jwt_public_keys", "shared/jwt_public_keys", PublicKeys("JWT_SECRET_KEY"), &ROUTERS),
        secret("mpc_api_key_sha256", "shared/mpc_api_key_sha256", KeyHashes(ApiKeyKind::Sign), &ACCOUNTS),
        secret(
            "mpc_shares_api_key_sha256",
            "shared/mpc_shares_api_key_sha256",
            KeyHashes(ApiKeyKind::Shares),
            &["server-party-api"],
        ),
        secret(
            "mpc_operator_api_key_sha256",
            "shared/mpc_operator_api_key_sha256",
            KeyHashes(ApiKeyKind::Operate),
            &COORDINATORS,
        ),
        secret(
            "account_postgres_password",
            "account/postgres_password",
            Generated,
            &["postgres", ACCOUNTS[0], ACCOUNTS[1]],
        ),
        secret(
            "coordinator_postgres_password",
            "coordinator/postgres_password",
            Generated,
            &["postgres", COORDINATORS[0], COORDINATORS[1]],
        ),
        secret("coordinator_rabbitmq_password", "coordinator/rabbitmq_password", Generated, &COORDINATORS),
        secret("router_rabbitmq_password", "router/rabbitmq_password", Generated, &ROUTERS),
        secret("account_rabbitmq_password", "account/rabbitmq_password", Generated, &ACCOUNTS),
        secret("originator", "account/originator", Generated, &ACCOUNTS),
        secret("account_row_keys", "account/row_keys", Generated, &ACCOUNTS),
        secret("party_1_identity", "party-1/identity", Generated, &["server-party-1"]),
        secret("party_1_master_key", "party-1/master_key", Generated, &["server-party-1"]),
        secret(
            "party_1_postgres_password",
            "party-1/postgres_password",
            Generated,
            &["postgres", "server-party-1"],
        ),
        secret("party_1_rabbitmq_password", "party-1/rabbitmq_password", Generated, &["server-party-1"]),
        secret("party_1_redis_password", "party-1/redis_password", Generated, &["server-party-1"]),
        secret("party_2_identity", "party-2/identity", Generated, &["server-party-2"]),
        secret("party_2_master_key", "party-2/master_key", Generated, &["server-party-2"]),
        secret(
            "party_2_postgres_password",
            "party-2/postgres_password",
            Generated,
            &["postgres", "server-party-2"],
        ),
        secret("party_2_rabbitmq_password", "party-2/rabbitmq_password", Generated, &["server-party-2"]),
        secret("party_2_redis_password", "party-2/redis_password", Generated, &["server-party-2"]),
        secret("party_3_identity", "party-3/identity", Generated, &["server-party-3"]),
        secret("party_3_master_key", "party-3/master_key", Generated, &["server-party-3"]),
        secret(
            "party_3_postgres_password",
            "party-3/postgres_password",
            Generated,
            &["postgres", "server-party-3"],
        ),
        secret("party_3_rabbitmq_password", "party-3/rabbitmq_password", Generated, &["server-party-3"]),
        secret("party_3_redis_password", "party-3/redis_password", Generated, &["server-party-3"]),
        secret("user_party_identity", "user-party/identity", Generated, &["server-party-api"]),
        secret("user_party_master_key", "user-party/master_key", Generated, &["server-party-api"]),
        secret(
            "user_party_postgres_password",
            "user-party/postgres_password",
            Generated,
            &["postgres", "server-party-api"],
        ),
        secret(
            "user_party_rabbitmq_password",
            "user-party/rabbitmq_password",
            Generated,
            &["server-party-api"],
        ),
        secret("user_party_redis_password", "user-party/redis_password", Generated, &["server-party-api"]),
    ]
};

/// The table for people: each container, and the files in `secrets/` that it is given.
pub(super) fn describe() -> String {
    let mut text = String::new();
    for service in SERVICES {
        let kind = match service.kind {
            ServiceKind::Infrastructure => "infrastructure",
            ServiceKind::Role => "role",
            ServiceKind::Replica => "second process of a role, with REPLICAS=2",
        };
        text += &format!("{} ({kind})\n", service.name);
        for secret in SECRETS.iter().filter(|secret| secret.readers.contains(&service.name)) {
            text += &format!("  secrets/{}\n", secret.file);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const COMPOSE: &str = include_str!("../../../../../docker-compose.yml");

    #[test]
    fn the_compose_file_has_these_secrets_in_these_files() {
        let (_, section) = COMPOSE.split_once("\nsecrets:\n").unwrap();
        let declared: BTreeMap<&str, &str> = section
            .lines()
            .filter_map(|line| line.trim().strip_suffix(" }")?.split_once(": { file: ./secrets/"))
            .collect();
        let ours: BTreeMap<&str, &str> = SECRETS.iter().map(|secret| (secret.name, secret.file)).collect();
        assert_eq!(declared, ours);
    }

    /// The blocks of a section at two spaces of indentation, by name.
    fn blocks(section: &str) -> BTreeMap<&str, String> {
        let mut blocks: BTreeMap<&str, String> = BTreeMap::new();
        let mut name = "";
        for line in section.lines().filter(|line| !line.trim_start().starts_with('#')) {
            match line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')) {
                Some(rest) => name = rest.trim_end_matches(':'),
                None => *blocks.entry(name).or_default() += &format!("{line}\n"),
            }
        }
        blocks
    }

    /// The secrets that a block lists, in one line or in several.
    fn secrets_in(block: &str) -> BTreeSet<String> {
        let Some((_, listed)) = block.split_once("secrets:") else { return BTreeSet::new() };
        if let Some(inline) = listed.strip_prefix(" [") {
            let names = inline.split(']').next().unwrap().split(',');
            return names.map(|name| name.trim().to_owned()).collect();
        }
        let items = listed.trim_start_matches('\n').lines().map_while(|line| line.trim().strip_prefix("- "));
        let name = |item: &str| match item.strip_prefix("{ source: ") {
            Some(rest) => rest.split(',').next().unwrap().to_owned(),
            None => item.to_owned(),
        };
        items.map(name).collect()
    }

    #[test]
    fn the_compose_file_gives_every_secret_to_its_readers_only() {
        let (before, services) = COMPOSE.split_once("\nservices:\n").unwrap();
        let services = blocks(services.split("\nnetworks:\n").next().unwrap());
        let names: BTreeSet<&str> = SERVICES.iter().map(|service| service.name).collect();
        assert_eq!(services.keys().copied().collect::<BTreeSet<_>>(), names);
        let mut seen = 0;
        for (service, block) in &services {
            let mut listed = secrets_in(block);
            // A list of its own replaces that of the anchor; the images of the services have none.
            if let Some(anchor) = block.split("    <<: *").nth(1).filter(|_| !block.contains("secrets:")) {
                let anchor = anchor.lines().next().unwrap();
                let template = before.split(&format!(": &{anchor}\n")).nth(1).unwrap();
                listed = secrets_in(template.split("\n\n").next().unwrap());
            }
            let wanted: BTreeSet<String> = SECRETS
                .iter()
                .filter(|secret| secret.readers.contains(service))
                .map(|secret| secret.name.to_owned())
                .collect();
            seen += listed.len();
            assert_eq!(listed, wanted, "{service}");
        }
        assert_eq!(seen, SECRETS.iter().map(|secret| secret.readers.len()).sum::<usize>());
    }

    #[test]
    fn no_container_is_given_an_api_key() {
        for kind in ApiKeyKind::ALL {
            let gives_the_key = |secret: &&SecretLayout| secret.origin == Origin::Setting(kind.setting());
            assert!(!SECRETS.iter().any(|secret| gives_the_key(&secret)), "{kind:?}");
            assert!(!COMPOSE.contains(&format!("${{{}", kind.setting())), "{kind:?} is in the environment");
            let readers =
                SECRETS.iter().find(|secret| secret.origin == Origin::KeyHashes(kind)).unwrap().readers;
            for other in ApiKeyKind::ALL.into_iter().filter(|other| *other != kind) {
                let others =
                    SECRETS.iter().find(|secret| secret.origin == Origin::KeyHashes(other)).unwrap().readers;
                assert!(!readers.iter().any(|reader| others.contains(reader)), "{kind:?} and {other:?}");
            }
        }
    }

    #[test]
    fn no_container_that_verifies_join_tokens_can_sign_one() {
        let readers = |origin| SECRETS.iter().find(|secret| secret.origin == origin).unwrap().readers;
        let sign = readers(Origin::Setting("JWT_SECRET_KEY"));
        let verify = readers(Origin::PublicKeys("JWT_SECRET_KEY"));
        assert!(!verify.is_empty() && !verify.iter().any(|reader| sign.contains(reader)));
    }

    #[test]
    fn the_compose_file_publishes_these_ports() {
        let is_optional = |port: &&str| OPTIONAL_PORTS.iter().any(|optional| optional.setting == *port);
        for port in PORTS.iter().filter(|port| !is_optional(port)) {
            assert!(COMPOSE.contains(&format!("${{{port}:-")), "{port}");
        }
        // The optional ports are not published.
        assert_eq!(COMPOSE.matches("_PORT:-").count(), PORTS.len() - OPTIONAL_PORTS.len());
        assert_eq!(COMPOSE.matches("    ports:").count(), PORTS.len() - OPTIONAL_PORTS.len());
        for name in SERVICES.iter().filter(|service| service.kind == ServiceKind::Replica) {
            let block = COMPOSE.split(&format!("\n  {}:\n", name.name)).nth(1).unwrap();
            assert!(block.lines().nth(1).unwrap().contains("profiles: [replicas]"), "{}", name.name);
        }
        for addresses in REPLICA_ADDRESSES {
            let default = format!("${{{}:-{}}}", addresses.setting, addresses.addresses[0]);
            assert!(COMPOSE.contains(&default), "{default}");
        }
    }

    /// Settings without a default of their own: `init` writes them.
    #[test]
    fn the_example_has_the_same_defaults() {
        const EXAMPLE: &str = include_str!("../../../../../.env.example");
        let secrets: BTreeSet<&str> = crate::cli::deployment::settings::password_settings().collect();
        let mut seen = 0;
        for (name, value) in EXAMPLE.lines().filter_map(|line| line.split_once('=')) {
            if name.starts_with('#') || value.is_empty() || secrets.contains(name) {
                continue;
            }
            let in_compose = COMPOSE.split(&format!("${{{name}:-")).nth(1);
            let in_compose = in_compose.map(|rest| rest.split('}').next().unwrap());
            let own = SCRIPT_SETTINGS.iter().find(|(setting, _)| *setting == name).map(|(_, value)| *value);
            let default = in_compose.or(own).unwrap_or_else(|| panic!("{name} has no default"));
            assert!(value == default || name == "TRUSTED_PROXIES", "{name}: .env.example");
            seen += 1;
        }
        assert!(seen > 20, "only {seen} defaults were compared");
    }

    #[test]
    fn the_table_for_people_lists_every_container_with_its_files() {
        let text = describe();
        assert!(text.contains(
            "redis (infrastructure)\n  secrets/shared/redis_password\nrabbitmq (infrastructure)\n"
        ));
        assert_eq!(text.matches("/identity\n").count(), PARTIES.len());
    }

    #[test]
    fn the_script_knows_the_same_services_and_defaults() {
        const SCRIPT: &str = include_str!("../../../../../deploy.sh");
        for (array, kind) in [
            ("services", ServiceKind::Infrastructure),
            ("roles", ServiceKind::Role),
            ("replicas", ServiceKind::Replica),
        ] {
            let names = SERVICES.iter().filter(|service| service.kind == kind).map(|service| service.name);
            let line = format!("\n{array}=({})\n", names.collect::<Vec<_>>().join(" "));
            assert!(SCRIPT.contains(&line), "deploy.sh has no line {line}");
        }
        let mut seen = 0;
        for call in SCRIPT.split("$(value ").skip(1) {
            let call = call.split(')').next().unwrap();
            let (name, default) = call.split_once(' ').unwrap_or((call, ""));
            let ours = SCRIPT_SETTINGS.iter().find(|(setting, _)| *setting == name).map(|(_, value)| *value);
            let in_compose = || COMPOSE.split(&format!("${{{name}:-")).nth(1)?.split('}').next();
            assert_eq!(Some(default), ours.or_else(in_compose), "{name}: deploy.sh");
            seen += 1;
        }
        assert!(seen > 5, "only {seen} defaults were compared");
    }

    #[test]
    fn the_compose_file_has_these_databases_and_queue_users() {
        let urls = |scheme: &str| -> BTreeSet<String> {
            let urls = COMPOSE.split(scheme).skip(1);
            urls.map(|url| url.split(['@', '\n']).next().unwrap().to_owned()).collect()
        };
        let roles: BTreeSet<String> = DATABASES.iter().map(|database| database.name.to_owned()).collect();
        assert_eq!(urls("postgres://"), roles);
        let mut users: BTreeSet<String> = PARTIES.iter().map(|party| party.name.to_owned()).collect();
        users.extend([COORDINATOR, ROUTER, ACCOUNT].map(String::from));
        assert_eq!(urls("amqp://"), users);
    }

    #[test]
    fn every_party_has_a_database_and_secrets_of_its_own() {
        for party in PARTIES {
            let own = party.name.replace('-', "_");
            assert!(DATABASES.iter().any(|database| database.name == own), "{own}");
            for kind in ["identity", "master_key", "postgres_password", "rabbitmq_password"] {
                let file = format!("{}/{kind}", party.name);
                assert!(SECRETS.iter().any(|secret| secret.file == file), "{file}");
            }
        }
        let shared = SECRETS.iter().filter(|secret| secret.file.starts_with("shared/"));
        assert!(shared.clone().all(|secret| secret.origin != Origin::Generated));
        assert_eq!(shared.count(), 7);
    }
}
