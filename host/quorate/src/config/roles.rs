//! Keys and addresses of all roles, and where each role listens.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use quorate_control_store::RowKeys;
use quorate_core::identity::PublicKey;
use quorate_net::join_token::{JoinKey, JoinVerifier};
use quorate_net::tcp::Address;
use quorate_party_store::MasterKey;
use zeroize::Zeroizing;

use super::ConfigError;
use super::read::Variables;

/// The seed of a signing key: 64 hex characters.
pub type Seed = Zeroizing<[u8; 32]>;

/// Roles that are processes of their own.
pub struct RolesConfig {
    /// `QUORATE_COORDINATOR_LISTEN`: where the coordinator listens. This machine only, unless you say otherwise.
    pub coordinator_listen: SocketAddr,
    /// `QUORATE_ROUTER_LISTEN`: where the router listens.
    pub router_listen: SocketAddr,
    /// `QUORATE_PARTY_LISTEN`: where a party tells of its health, and of nothing else.
    pub party_listen: SocketAddr,
    /// `QUORATE_PARTY_API_LISTEN`: where the party API listens to users' backends.
    pub party_api_listen: SocketAddr,
    /// `QUORATE_PARTY_API_GRPC_LISTEN`: where it listens to account services only.
    pub party_api_grpc_listen: SocketAddr,
    /// `QUORATE_PARTY_APIS`: the addresses at which party APIs listen to account services, separated by commas; none if
    /// users keep no shares.
    pub party_apis: Vec<Address>,
    /// `QUORATE_USER_PARTY_KEY`: the public identity key of the party whose shares users keep; the same everywhere.
    pub user_party: Option<PublicKey>,
    /// `USER_SHARE_PLAINTEXT`: `true` lets the party API hand out shares unsealed to callers that give no key.
    pub unsealed_shares: bool,
    /// `QUORATE_CONFIRM_SECONDS`: how long a user may take to confirm a new share; an hour if you say nothing.
    pub confirm_within: Duration,
    /// `QUORATE_SEALING_KEY_SECONDS`: how long each key is given out to which users seal their shares; a day if you say
    /// nothing. What was sealed to it opens for as long again.
    pub sealing_key_period: Duration,
    /// `QUORATE_COORDINATORS`: the addresses of all coordinators, separated by commas.
    pub coordinators: Vec<Address>,
    /// `QUORATE_ROUTERS`: the addresses of all routers, separated by commas; the same list in the same order
    /// everywhere.
    pub routers: Vec<Address>,
    /// `JWT_SECRET_KEY`: what coordinators sign join tokens with: 32 characters or more, the same for all of them.
    pub join_key: Option<JoinKey>,
    /// `JWT_PUBLIC_KEYS`: the keys by which routers know join tokens, separated by commas: `quorate key join` prints the one
    /// that belongs to a secret. Several while a secret is being replaced.
    pub join_verifier: Option<JoinVerifier>,
    /// `QUORATE_ORIGINATOR_KEY`: the key with which the account service signs orders.
    pub originator: Option<Seed>,
    /// `QUORATE_ORIGINATORS`: public keys of account services whose orders are carried out, separated by commas.
    pub originators: Vec<PublicKey>,
    /// `QUORATE_ACCOUNT_ROW_KEYS`: the keys under which account services authenticate what they store: 64 hex characters
    /// each, separated by commas. The first is used for new rows; earlier ones are accepted.
    pub row_keys: Option<RowKeys>,
    /// `QUORATE_FORMER_PARTY_KEYS`: public identity keys of parties that are no longer in use, separated by commas.
    /// Account services verify what they have signed, and name them in no order.
    pub former_parties: Vec<PublicKey>,
    /// `QUORATE_PARTY_KEYS`: the public identity keys of all parties in index order, separated by commas.
    pub parties: Vec<PublicKey>,
    /// `QUORATE_IDENTITY_KEY`: a party's own identity key.
    pub identity: Option<Seed>,
    /// `CRYPTO_MASTER_KEY`: what a party's database is sealed with: 64 hex characters.
    pub master: Option<MasterKey>,
    /// `QUORATE_REPLICA`: the name of this process among the replicas of its party; the machine's name if you give
    /// none.
    pub replica: String,
}

impl std::fmt::Debug for RolesConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("RolesConfig");
        shown.field("coordinators", &self.coordinators).field("routers", &self.routers);
        shown.field("party_apis", &self.party_apis).field("parties", &self.parties);
        shown
            .field("coordinator_listen", &self.coordinator_listen)
            .field("router_listen", &self.router_listen);
        shown.field("party_listen", &self.party_listen).field("party_api_listen", &self.party_api_listen);
        shown.field("party_api_grpc_listen", &self.party_api_grpc_listen);
        shown.field("unsealed_shares", &self.unsealed_shares).field("confirm_within", &self.confirm_within);
        shown.field("sealing_key_period", &self.sealing_key_period);
        shown.field("replica", &self.replica).finish_non_exhaustive()
    }
}

impl RolesConfig {
    pub(super) fn read(variables: &mut Variables) -> Result<Self, ConfigError> {
        let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let address = "an address like 127.0.0.1:8081";
        let addresses = "addresses like http://host:8081, with commas between";
        let keys = "public keys of 64 hex characters, with commas between";
        let parties = variables.list("QUORATE_PARTY_KEYS", keys, public_key)?;
        if (1..parties.len()).any(|index| parties[..index].contains(&parties[index])) {
            let wanted = "the public key of each party once";
            return Err(ConfigError::Invalid { name: "QUORATE_PARTY_KEYS", wanted });
        }
        let user_party = user_party(variables, &parties)?;
        let join_key = variables.secret("JWT_SECRET_KEY")?.map(|secret| JoinKey::new(&secret)).transpose();
        let master = variables.secret("CRYPTO_MASTER_KEY")?.map(|hex| MasterKey::from_hex(&hex)).transpose();
        Ok(Self {
            coordinator_listen: variables
                .parsed("QUORATE_COORDINATOR_LISTEN", address)?
                .unwrap_or_else(|| local(8081)),
            router_listen: variables.parsed("QUORATE_ROUTER_LISTEN", address)?.unwrap_or_else(|| local(8082)),
            party_listen: variables.parsed("QUORATE_PARTY_LISTEN", address)?.unwrap_or_else(|| local(8084)),
            party_api_listen: variables
                .parsed("QUORATE_PARTY_API_LISTEN", address)?
                .unwrap_or_else(|| local(8083)),
            party_api_grpc_listen: variables
                .parsed("QUORATE_PARTY_API_GRPC_LISTEN", address)?
                .unwrap_or_else(|| local(8085)),
            party_apis: variables.list("QUORATE_PARTY_APIS", addresses, |text| text.parse().ok())?,
            user_party,
            unsealed_shares: variables.parsed("USER_SHARE_PLAINTEXT", "true or false")?.unwrap_or(false),
            confirm_within: seconds(variables, &CONFIRM_SECONDS)?,
            sealing_key_period: seconds(variables, &SEALING_KEY_SECONDS)?,
            coordinators: variables.list("QUORATE_COORDINATORS", addresses, |text| text.parse().ok())?,
            routers: variables.list("QUORATE_ROUTERS", addresses, |text| text.parse().ok())?,
            join_key: join_key.map_err(|_| ConfigError::Invalid {
                name: "JWT_SECRET_KEY",
                wanted: "32 characters or more, for example from `openssl rand -hex 32`",
            })?,
            join_verifier: join_verifier(variables)?,
            originator: seed(variables, "QUORATE_ORIGINATOR_KEY")?,
            originators: variables.list("QUORATE_ORIGINATORS", keys, public_key)?,
            row_keys: row_keys(variables)?,
            former_parties: former_parties(variables, &parties, user_party)?,
            parties,
            identity: seed(variables, "QUORATE_IDENTITY_KEY")?,
            master: master.map_err(|_| ConfigError::Invalid {
                name: "CRYPTO_MASTER_KEY",
                wanted: "64 hexadecimal characters, for example from `openssl rand -hex 32`",
            })?,
            replica: variables.take("QUORATE_REPLICA").unwrap_or_else(machine),
        })
    }
}

impl RolesConfig {
    /// The identity keys of all parties, the users' party included.
    #[must_use]
    pub fn all_parties(&self) -> Vec<PublicKey> {
        self.parties.iter().copied().chain(self.user_party).collect()
    }

    /// With TLS nothing goes to another role without it.
    pub(super) fn check_tls(&self) -> Result<(), ConfigError> {
        let wanted = "addresses that begin with https://: this process has TLS (TLS_CERT_FILE)";
        for (name, addresses) in [
            ("QUORATE_COORDINATORS", &self.coordinators),
            ("QUORATE_ROUTERS", &self.routers),
            ("QUORATE_PARTY_APIS", &self.party_apis),
        ] {
            if !addresses.iter().all(Address::has_tls) {
                return Err(ConfigError::Invalid { name, wanted });
            }
        }
        Ok(())
    }
}

/// A setting that is a number of seconds.
struct Seconds {
    name: &'static str,
    default: u64,
    longest: u64,
    wanted: &'static str,
}

const CONFIRM_SECONDS: Seconds = Seconds {
    name: "QUORATE_CONFIRM_SECONDS",
    default: 3_600,
    longest: 86_400,
    wanted: "a number of seconds from 1 to 86400",
};

const SEALING_KEY_SECONDS: Seconds = Seconds {
    name: "QUORATE_SEALING_KEY_SECONDS",
    default: 86_400,
    longest: 2_592_000,
    wanted: "a number of seconds from 1 to 2592000",
};

fn seed(variables: &mut Variables, name: &'static str) -> Result<Option<Seed>, ConfigError> {
    let read = |text: &Zeroizing<String>| {
        let mut seed = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.as_bytes(), seed.as_mut_slice()).ok().map(|()| seed)
    };
    match variables.secret(name)? {
        None => Ok(None),
        Some(text) => match read(&text) {
            Some(seed) => Ok(Some(seed)),
            None => Err(ConfigError::Invalid {
                name,
                wanted: "64 hexadecimal characters, for example from `quorate key new`",
            }),
        },
    }
}

fn row_keys(variables: &mut Variables) -> Result<Option<RowKeys>, ConfigError> {
    let name = "QUORATE_ACCOUNT_ROW_KEYS";
    let Some(list) = variables.secret_list(name)? else { return Ok(None) };
    let wanted =
        "keys of 64 hexadecimal characters, for example from `openssl rand -hex 32`, with commas between";
    let mut keys = list.iter().map(|text| {
        let mut key = Zeroizing::new([0; 32]);
        let read = hex::decode_to_slice(text.as_bytes(), key.as_mut_slice());
        read.map(|()| key).map_err(|_| ConfigError::Invalid { name, wanted })
    });
    let Some(current) = keys.next() else { return Ok(None) };
    Ok(Some(RowKeys::new(current?, keys.collect::<Result<_, _>>()?)))
}

fn public_key(text: &str) -> Option<PublicKey> {
    text.parse().ok()
}

/// The public keys of those who sign join tokens. They may come in a file, like the secret that they belong to.
fn join_verifier(variables: &mut Variables) -> Result<Option<JoinVerifier>, ConfigError> {
    let Some(list) = variables.secret("JWT_PUBLIC_KEYS")? else { return Ok(None) };
    let keys = list.split(',').map(|key| public_key(key.trim())).collect::<Option<Vec<_>>>();
    let wanted = "public keys of 64 hex characters, with commas between: `quorate key join` prints them";
    let keys = keys.ok_or(ConfigError::Invalid { name: "JWT_PUBLIC_KEYS", wanted })?;
    Ok(Some(JoinVerifier::new(keys)))
}

/// The identity key of the users' party, which is none of the other parties.
fn user_party(variables: &mut Variables, parties: &[PublicKey]) -> Result<Option<PublicKey>, ConfigError> {
    match variables.list("QUORATE_USER_PARTY_KEY", "a public key of 64 hex characters", public_key)? {
        keys if keys.len() > 1 => {
            let wanted = "a single public key";
            Err(ConfigError::Invalid { name: "QUORATE_USER_PARTY_KEY", wanted })
        }
        // One process would hold two shares of a key.
        keys if keys.iter().any(|key| parties.contains(key)) => {
            let wanted = "a key that is not in QUORATE_PARTY_KEYS: those parties keep their own shares";
            Err(ConfigError::Invalid { name: "QUORATE_USER_PARTY_KEY", wanted })
        }
        keys => Ok(keys.first().copied()),
    }
}

/// The identity keys that are no longer in use: none of those that are.
fn former_parties(
    variables: &mut Variables,
    parties: &[PublicKey],
    user_party: Option<PublicKey>,
) -> Result<Vec<PublicKey>, ConfigError> {
    let name = "QUORATE_FORMER_PARTY_KEYS";
    let keys = "public keys of 64 hex characters, with commas between";
    let former = variables.list(name, keys, public_key)?;
    if former.iter().any(|key| parties.contains(key) || user_party.as_ref() == Some(key)) {
        let wanted =
            "keys that are in neither QUORATE_PARTY_KEYS nor QUORATE_USER_PARTY_KEY: those are in use";
        return Err(ConfigError::Invalid { name, wanted });
    }
    Ok(former)
}

fn seconds(variables: &mut Variables, setting: &Seconds) -> Result<Duration, ConfigError> {
    let &Seconds { name, default, longest, wanted } = setting;
    match variables.parsed(name, wanted)?.unwrap_or(default) {
        seconds if (1..=longest).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(ConfigError::Invalid { name, wanted }),
    }
}

/// The machine's name: in a container it is the container's.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "replica".into() } else { name.trim().to_owned() }
}
