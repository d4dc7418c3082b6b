//! What a deployment with compose consists of, in one table: parties, databases, users at RabbitMQ, and secrets with their readers.
//! Whatever is made for a deployment is made from here; a test holds `docker-compose.yml` against it.

/// Where a secret comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A setting of `.env`, copied to a file of its own.
    Setting(&'static str),
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
    /// The most connections at a time: one party that takes all of its own must not shut out the others.
    pub(super) max_connections: u32,
}

/// The parties, in index order; the users' party is the last.
pub(super) const PARTIES: [PartyLayout; 4] = [
    PartyLayout { name: "party-1", is_users_party: false },
    PartyLayout { name: "party-2", is_users_party: false },
    PartyLayout { name: "party-3", is_users_party: false },
    PartyLayout { name: "user-party", is_users_party: true },
];

/// The databases.
pub(super) const DATABASES: [DatabaseLayout; 5] = [
    DatabaseLayout { name: "control", max_connections: 80 },
    DatabaseLayout { name: "party_1", max_connections: 25 },
    DatabaseLayout { name: "party_2", max_connections: 25 },
    DatabaseLayout { name: "party_3", max_connections: 25 },
    DatabaseLayout { name: "user_party", max_connections: 25 },
];

/// The user of coordinators and routers at RabbitMQ, and the file of its password.
pub(super) const TRUSTED_QUEUE_USER: (&str, &str) = ("quorate", "shared/rabbitmq_password");

/// All secrets.
pub(super) const SECRETS: [SecretLayout; 23] = {
    use Origin::{Generated, Setting};
    const fn secret(name: &'static str, file: &'static str, origin: Origin) -> SecretLayout {
        SecretLayout { name, file, origin }
    }
    [
        secret("postgres_password", "shared/postgres_password", Setting("POSTGRES_PASSWORD")),
        secret("rabbitmq_password", "shared/rabbitmq_password", Setting("RABBITMQ_PASSWORD")),
        secret("redis_password", "shared/redis_password", Setting("REDIS_PASSWORD")),
        secret("jwt_secret_key", "shared/jwt_secret_key", Setting("JWT_SECRET_KEY")),
        secret("mpc_api_key", "shared/mpc_api_key", Setting("MPC_API_KEY")),
        secret("control_postgres_password", "control/postgres_password", Generated),
        secret("originator", "account/originator", Generated),
        secret("party_1_identity", "party-1/identity", Generated),
        secret("party_1_master_key", "party-1/master_key", Generated),
        secret("party_1_postgres_password", "party-1/postgres_password", Generated),
        secret("party_1_rabbitmq_password", "party-1/rabbitmq_password", Generated),
        secret("party_2_identity", "party-2/identity", Generated),
        secret("party_2_master_key", "party-2/master_key", Generated),
        secret("party_2_postgres_password", "party-2/postgres_password", Generated),
        secret("party_2_rabbitmq_password", "party-2/rabbitmq_password", Generated),
        secret("party_3_identity", "party-3/identity", Generated),
        secret("party_3_master_key", "party-3/master_key", Generated),
        secret("party_3_postgres_password", "party-3/postgres_password", Generated),
        secret("party_3_rabbitmq_password", "party-3/rabbitmq_password", Generated),
        secret("user_party_identity", "user-party/identity", Generated),
        secret("user_party_master_key", "user-party/master_key", Generated),
        secret("user_party_postgres_password", "user-party/postgres_password", Generated),
        secret("user_party_rabbitmq_password", "user-party/rabbitmq_password", Generated),
    ]
};

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

    #[test]
    fn the_compose_file_has_these_databases_and_queue_users() {
        let urls = |scheme: &str| -> BTreeSet<String> {
            let urls = COMPOSE.split(scheme).skip(1);
            urls.map(|url| url.split(['@', '\n']).next().unwrap().to_owned()).collect()
        };
        let roles: BTreeSet<String> = DATABASES.iter().map(|database| database.name.to_owned()).collect();
        assert_eq!(urls("postgres://"), roles);
        let mut users: BTreeSet<String> = PARTIES.iter().map(|party| party.name.to_owned()).collect();
        users.insert(TRUSTED_QUEUE_USER.0.into());
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
        assert!(shared.clone().all(|secret| matches!(secret.origin, Origin::Setting(_))));
        assert_eq!(shared.count(), 5);
    }
}
