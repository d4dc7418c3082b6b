//! A deployment of many processes on PostgreSQL, RabbitMQ and Redis: every role its own process, several of each.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use quorate_backends::queue::RabbitAddress;
use quorate_core::identity::{PublicKey, SecretKey};
use quorate_net::join_token::JoinKey;
use quorate_net::topics::broker_layout;
use quorate_net::web::guard::ApiKeyHashes;
use reqwest::Method;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::compiled::copy_for_party;
use crate::components;
use crate::cut_connection::Wire;
use crate::embedded::{Caller, KEY, OPERATOR_KEY, SHARES_KEY};
use crate::services::{Databases, service, unique};
use crate::single_process::{free_address, program};

/// How long a process may take to be there.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A process of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Member {
    Account(usize),
    Coordinator(usize),
    Router(usize),
    Party(usize),
    PartyApi(usize),
}

/// How many of each there are, and what they run on.
#[derive(Clone)]
pub struct FleetSetup {
    /// Account services.
    pub accounts: usize,
    /// Coordinators.
    pub coordinators: usize,
    /// Routers.
    pub routers: usize,
    /// Parties.
    pub parties: usize,
    /// Replicas of the users' party.
    pub party_apis: usize,
    /// The components that parties run.
    pub plugins: Vec<PathBuf>,
    /// Further settings of all processes.
    pub settings: Vec<(String, String)>,
    /// Further settings of single processes.
    pub own_settings: Vec<(Member, String, String)>,
    /// Whether roles reach each other with TLS.
    pub tls: bool,
    /// Whether there are wires between all processes and services, so that they can be cut.
    pub wires: bool,
    /// Where PostgreSQL, RabbitMQ and Redis are.
    pub services: [String; 3],
    /// Whether the queues are there before the first process starts.
    pub makes_queues: bool,
}

impl FleetSetup {
    /// The smallest fleet that serves users' shares: one process of each role, and two parties beside the user's.
    pub fn small() -> Self {
        Self { accounts: 1, coordinators: 1, routers: 1, parties: 2, party_apis: 1, ..Self::default() }
    }
}

impl Default for FleetSetup {
    fn default() -> Self {
        Self {
            accounts: 2,
            coordinators: 2,
            routers: 2,
            parties: 3,
            party_apis: 0,
            plugins: vec![components::folder().join("dkls23.wasm")],
            settings: vec![],
            own_settings: vec![],
            tls: false,
            wires: false,
            services: ["TEST_POSTGRES_URL", "TEST_RABBITMQ_URL", "TEST_REDIS_URL"].map(service),
            makes_queues: true,
        }
    }
}

/// A deployment. Its processes are killed with this value.
pub struct Fleet {
    setup: FleetSetup,
    folder: TempDir,
    namespace: String,
    /// See [`DatabaseOf`].
    databases: Databases,
    keys: Keys,
    addresses: BTreeMap<Member, SocketAddr>,
    /// The sender (a member, or a caller from outside) and the target.
    wires: BTreeMap<(Option<Member>, SocketAddr), Wire>,
    running: BTreeMap<Member, Child>,
}

/// All keys of a deployment, in hex.
struct Keys {
    originator: (String, String),
    parties: Vec<(String, String)>,
    user: (String, String),
    masters: Vec<String>,
    jwt: String,
    account_rows: String,
}

/// Whose database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseOf {
    /// That of the account services.
    Account,
    /// That of the coordinators.
    Coordinator,
    /// That of a party, of which 0 is the first.
    Party(usize),
    /// That of the users' party.
    UserParty,
}

/// The master key of a party: the same in every fleet of a process, so that components are compiled once for each.
fn master_key(index: usize) -> String {
    static KEYS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut keys = KEYS.lock().unwrap();
    while keys.len() <= index {
        keys.push(random_hex());
    }
    keys[index].clone()
}

/// The address in the URL of a service, which is given in numbers.
fn address_of(url: &str) -> SocketAddr {
    let url = reqwest::Url::parse(url).unwrap();
    let port = url.port().expect("wires take services whose URLs name their ports");
    (url.host_str().unwrap().parse::<IpAddr>().expect("wires take services with numeric addresses"), port)
        .into()
}

/// The hash of an API key, as a process is given it.
#[must_use]
pub fn hash_of(key: &str) -> String {
    ApiKeyHashes::of_keys([key]).unwrap().to_list()
}

fn random_hex() -> String {
    hex::encode(quorate_kit::random32())
}

fn signing_key() -> (String, String) {
    let seed = quorate_kit::random32();
    (hex::encode(seed), SecretKey::from_seed(&seed).public().to_string())
}

impl Fleet {
    /// Starts all processes, and waits until they are there.
    pub async fn start(setup: FleetSetup) -> Self {
        Self::prepare(setup).await.go().await
    }

    /// Starts all processes that do not run, and waits until they are there.
    pub async fn go(mut self) -> Self {
        for member in self.members() {
            if !self.running.contains_key(&member) {
                self.launch(member);
            }
        }
        for member in self.members() {
            self.await_health(member).await;
        }
        self
    }

    /// Makes databases, keys and addresses, and starts nothing.
    pub async fn prepare(setup: FleetSetup) -> Self {
        let databases = Databases::create(setup.services[0].clone(), 3 + setup.parties).await;
        let keys = Keys {
            originator: signing_key(),
            parties: (0..setup.parties).map(|_| signing_key()).collect(),
            masters: (0..=setup.parties).map(master_key).collect(),
            user: signing_key(),
            jwt: random_hex(),
            account_rows: random_hex(),
        };
        let mut fleet = Self {
            setup,
            folder: tempfile::tempdir().unwrap(),
            namespace: unique(),
            databases,
            keys,
            addresses: BTreeMap::new(),
            wires: BTreeMap::new(),
            running: BTreeMap::new(),
        };
        fleet.addresses = fleet.members().into_iter().map(|member| (member, free_address())).collect();
        if fleet.setup.wires {
            fleet.lay_wires().await;
        }
        if fleet.setup.makes_queues {
            fleet.make_queues_in(&fleet.namespace).await;
        }
        for member in fleet.members() {
            if let Some(folder) = fleet.data(member) {
                copy_for_party(&fleet.setup.plugins, fleet.master_key(member), &folder);
            }
        }
        fleet
    }

    /// Makes the queues of the parties in a namespace, as `quorate migrate queues` does.
    pub async fn make_queues_in(&self, namespace: &str) {
        let keys = self.party_keys().into_iter().chain([self.keys.user.1.clone()]);
        let keys: Vec<PublicKey> = keys.map(|key| key.parse().unwrap()).collect();
        let address = RabbitAddress::new(&self.setup.services[1]).unwrap();
        broker_layout(namespace, &keys).create(&address).await.unwrap();
    }

    /// The master key of a party.
    fn master_key(&self, member: Member) -> &str {
        match member {
            Member::Party(index) => &self.keys.masters[index],
            _ => &self.keys.masters[self.setup.parties],
        }
    }

    /// Where a party keeps what it has compiled.
    pub(crate) fn data(&self, member: Member) -> Option<PathBuf> {
        match member {
            Member::Party(index) => Some(self.folder.path().join(format!("party-{index}"))),
            Member::PartyApi(index) => Some(self.folder.path().join(format!("user-{index}"))),
            _ => None,
        }
    }

    async fn lay_wires(&mut self) {
        let members = self.members();
        let mut targets: Vec<SocketAddr> = members.iter().map(|member| self.grpc_address(*member)).collect();
        targets.extend(self.setup.services.iter().map(|service| address_of(service)));
        for from in members {
            for &to in &targets {
                self.wires.insert((Some(from), to), Wire::to(to).await);
            }
        }
        for account in 0..self.setup.accounts {
            let to = self.address(Member::Account(account));
            self.wires.insert((None, to), Wire::to(to).await);
        }
    }

    /// The address at which a sender reaches another address.
    fn by_wire(&self, from: Option<Member>, to: SocketAddr) -> SocketAddr {
        self.wires.get(&(from, to)).map_or(to, Wire::address)
    }

    /// Breaks all connections from and to a process.
    pub fn cut(&self, member: Member) {
        let itself = self.grpc_address(member);
        for ((from, to), wire) in &self.wires {
            if *from == Some(member) || *to == itself {
                wire.cut();
            }
        }
    }

    /// All processes, in the order in which they are best started.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let FleetSetup { accounts, coordinators, routers, parties, party_apis, .. } = self.setup;
        let coordinators = (0..coordinators).map(Member::Coordinator);
        let routers = (0..routers).map(Member::Router);
        let parties = (0..parties).map(Member::Party);
        let rest = (0..party_apis).map(Member::PartyApi).chain((0..accounts).map(Member::Account));
        coordinators.chain(routers).chain(parties).chain(rest).collect()
    }

    /// Where a process listens.
    #[must_use]
    pub fn address(&self, member: Member) -> SocketAddr {
        self.addresses[&member]
    }

    /// Where a process listens to other roles.
    #[must_use]
    pub fn grpc_address(&self, member: Member) -> SocketAddr {
        let address = self.address(member);
        match member {
            Member::PartyApi(_) => (address.ip(), address.port() + 1).into(),
            _ => address,
        }
    }

    /// Calls one of the account services.
    #[must_use]
    pub fn caller(&self, account: usize) -> Caller {
        Caller::new(self.by_wire(None, self.address(Member::Account(account))))
    }

    /// Calls the last of the account services: faults happen to the first.
    #[must_use]
    pub fn last_caller(&self) -> Caller {
        self.caller(self.setup.accounts - 1)
    }

    /// The key with which account services sign orders.
    #[must_use]
    pub fn originator(&self) -> SecretKey {
        SecretKey::from_seed(&hex::decode(&self.keys.originator.0).unwrap().try_into().unwrap())
    }

    /// The public identity key of the users' party.
    #[must_use]
    pub fn user_party_key(&self) -> &str {
        &self.keys.user.1
    }

    /// The public identity keys of the parties.
    #[must_use]
    pub fn party_keys(&self) -> Vec<String> {
        self.keys.parties.iter().map(|(_, public)| public.clone()).collect()
    }

    /// All databases.
    #[must_use]
    pub fn databases(&self) -> Vec<DatabaseOf> {
        let parties = (0..self.setup.parties).map(DatabaseOf::Party);
        let roles = [DatabaseOf::Account, DatabaseOf::Coordinator].into_iter();
        roles.chain(parties).chain([DatabaseOf::UserParty]).collect()
    }

    /// The address of a database.
    ///
    /// # Panics
    /// When there is no such party.
    #[must_use]
    pub fn database_url(&self, of: DatabaseOf) -> String {
        let index = self.databases().iter().position(|database| *database == of);
        self.databases.url(index.expect("a database of this fleet"))
    }

    /// A connection to a database.
    pub async fn database(&self, of: DatabaseOf) -> PgConnection {
        PgConnection::connect(&self.database_url(of)).await.unwrap()
    }

    /// The secret of join tokens.
    #[must_use]
    pub fn jwt_secret(&self) -> &str {
        &self.keys.jwt
    }

    /// The beginning of the names of its queues and topics.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The folder of data and logs.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The command of a process, with its settings.
    #[must_use]
    pub fn command(&self, member: Member) -> Command {
        let mut command = Command::new(program());
        command.env_clear().arg("serve").stdin(Stdio::null()).stdout(Stdio::null());
        command.env("PATH", std::env::var("PATH").unwrap_or_default());
        for (name, value) in self.settings(member) {
            command.env(name, value);
        }
        let role = match member {
            Member::Account(_) => "account",
            Member::Coordinator(_) => "coordinator",
            Member::Router(_) => "router",
            Member::Party(_) => "party",
            Member::PartyApi(_) => "party-api",
        };
        command.arg(role);
        command
    }

    fn settings(&self, member: Member) -> Vec<(String, String)> {
        let all = |of: fn(usize) -> Member, count: usize| {
            let scheme = if self.setup.tls { "https" } else { "http" };
            let urls: Vec<String> = (0..count)
                .map(|i| format!("{scheme}://{}", self.by_wire(Some(member), self.grpc_address(of(i)))))
                .collect();
            urls.join(",")
        };
        let by_wire = |url: String| {
            if self.wires.is_empty() {
                return url;
            }
            let to = address_of(&url);
            url.replace(&to.to_string(), &self.by_wire(Some(member), to).to_string())
        };
        let address = self.address(member).to_string();
        let public = self.party_keys().join(",");
        let mut settings: Vec<(&str, String)> = vec![
            ("RABBITMQ_URL", by_wire(self.setup.services[1].clone())),
            ("QUORATE_NAMESPACE", self.namespace.clone()),
            ("QUORATE_CONNECT_BASE_MS", "100".into()),
            ("QUORATE_CONNECT_CAP_MS", "1000".into()),
            ("QUORATE_LOG", "quorate=info,warn".into()),
            ("QUORATE_COORDINATORS", all(Member::Coordinator, self.setup.coordinators)),
            ("QUORATE_ROUTERS", all(Member::Router, self.setup.routers)),
        ];
        if self.setup.party_apis > 0 && !matches!(member, Member::Router(_)) {
            settings.push(("QUORATE_USER_PARTY_KEY", self.keys.user.1.clone()));
            settings.push(("QUORATE_PARTY_APIS", all(Member::PartyApi, self.setup.party_apis)));
        }
        settings.extend(match member {
            Member::Account(_) => vec![
                ("QUORATE_LISTEN", address),
                ("MPC_API_KEY_SHA256", hash_of(KEY)),
                ("POSTGRES_URL", by_wire(self.database_url(DatabaseOf::Account))),
                ("QUORATE_ACCOUNT_ROW_KEYS", self.keys.account_rows.clone()),
                ("REDIS_URL", by_wire(self.setup.services[2].clone())),
                ("QUORATE_ORIGINATOR_KEY", self.keys.originator.0.clone()),
                ("QUORATE_PARTY_KEYS", public.clone()),
            ],
            Member::Coordinator(_) => vec![
                ("QUORATE_COORDINATOR_LISTEN", address),
                ("MPC_OPERATOR_API_KEY_SHA256", hash_of(OPERATOR_KEY)),
                ("POSTGRES_URL", by_wire(self.database_url(DatabaseOf::Coordinator))),
                ("QUORATE_ORIGINATORS", self.keys.originator.1.clone()),
                ("QUORATE_PARTY_KEYS", public.clone()),
                ("JWT_SECRET_KEY", self.keys.jwt.clone()),
            ],
            Member::Router(_) => {
                let key = JoinKey::new(&self.keys.jwt).unwrap().public();
                vec![("QUORATE_ROUTER_LISTEN", address), ("JWT_PUBLIC_KEYS", key.to_string())]
            }
            Member::Party(index) => vec![
                ("QUORATE_PARTY_LISTEN", address),
                ("POSTGRES_URL", by_wire(self.database_url(DatabaseOf::Party(index)))),
                ("QUORATE_IDENTITY_KEY", self.keys.parties[index].0.clone()),
                ("CRYPTO_MASTER_KEY", self.master_key(member).to_owned()),
                ("QUORATE_REPLICA", format!("replica-{index}")),
                ("QUORATE_DATA", self.data(member).unwrap().display().to_string()),
            ],
            Member::PartyApi(index) => vec![
                ("QUORATE_PARTY_API_LISTEN", address),
                ("MPC_SHARES_API_KEY_SHA256", hash_of(SHARES_KEY)),
                ("QUORATE_PARTY_API_GRPC_LISTEN", self.grpc_address(member).to_string()),
                ("POSTGRES_URL", by_wire(self.database_url(DatabaseOf::UserParty))),
                ("QUORATE_IDENTITY_KEY", self.keys.user.0.clone()),
                ("CRYPTO_MASTER_KEY", self.master_key(member).to_owned()),
                ("QUORATE_REPLICA", format!("user-{index}")),
                ("QUORATE_DATA", self.data(member).unwrap().display().to_string()),
            ],
        });
        if matches!(member, Member::Party(_) | Member::PartyApi(_)) {
            settings.extend([
                ("QUORATE_PARTY_KEYS", public),
                ("QUORATE_ORIGINATORS", self.keys.originator.1.clone()),
                (
                    "QUORATE_PLUGIN_FILES",
                    self.setup.plugins.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(","),
                ),
            ]);
        }
        let own = settings.into_iter().map(|(name, value)| (name.to_owned(), value));
        let single = self.setup.own_settings.iter().filter(|(whose, ..)| *whose == member);
        let single = single.map(|(_, name, value)| (name.clone(), value.clone()));
        own.chain(self.setup.settings.clone()).chain(single).collect()
    }

    fn log(&self, member: Member) -> PathBuf {
        self.folder.path().join(format!("{member:?}.log"))
    }

    /// Starts a process, and does not wait for it.
    pub fn launch(&mut self, member: Member) {
        let child = self.spawn(member);
        self.adopt(member, child);
    }

    /// Starts a process for [`Fleet::adopt`].
    #[must_use]
    pub fn spawn(&self, member: Member) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(self.log(member)).unwrap();
        self.command(member).stderr(log).spawn().unwrap()
    }

    /// Takes a process in that was started in place of another.
    pub fn adopt(&mut self, member: Member, child: Child) {
        if let Some(mut before) = self.running.insert(member, child) {
            let _ = before.kill();
            let _ = before.wait();
        }
    }

    /// Waits until a process says that it is there.
    pub async fn await_health(&self, member: Member) {
        let (caller, began) = (Caller::new(self.address(member)), Instant::now());
        loop {
            // With TLS, only what is in the log can be seen from outside.
            let log = if self.setup.tls { self.logged(member) } else { String::new() };
            if log.contains(" ready") {
                return;
            }
            if caller.bare(Method::GET, "/health").send().await.is_ok_and(|r| r.status().is_success()) {
                return;
            }
            assert!(began.elapsed() < START_TIMEOUT, "{member:?} is not there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Hands a process over, to be killed and waited for by the caller.
    #[must_use]
    pub fn take(&mut self, member: Member) -> Child {
        self.running.remove(&member).unwrap()
    }

    /// Kills a process: it has no time to say anything.
    pub fn kill(&mut self, member: Member) {
        if let Some(mut child) = self.running.remove(&member) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Kills a process if it runs, and starts it again.
    pub async fn restart(&mut self, member: Member) {
        self.kill(member);
        self.launch(member);
        self.await_health(member).await;
    }

    /// Kills a party and drops its database: it starts with an empty one.
    pub async fn lose_database(&mut self, party: Member) {
        self.kill(party);
        let of =
            if let Member::Party(index) = party { DatabaseOf::Party(index) } else { DatabaseOf::UserParty };
        let index = self.databases().iter().position(|database| *database == of).unwrap();
        self.databases.recreate(index).await;
    }

    /// Gives a party another identity key, which every process knows once it is started again, and returns the former one. Account
    /// services know it too.
    pub async fn lose_identity(&mut self, party: usize) -> String {
        let former = std::mem::replace(&mut self.keys.parties[party], signing_key()).1;
        for account in 0..self.setup.accounts {
            let setting = ("QUORATE_FORMER_PARTY_KEYS".to_owned(), former.clone());
            self.setup.own_settings.push((Member::Account(account), setting.0, setting.1));
        }
        self.make_queues_in(&self.namespace).await;
        former
    }

    /// Kills all processes, and starts them again.
    pub async fn restart_all(&mut self) {
        for member in self.members() {
            self.kill(member);
        }
        for member in self.members() {
            self.launch(member);
        }
        for member in self.members() {
            self.await_health(member).await;
        }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self, member: Member) -> u32 {
        self.running[&member].id()
    }

    /// The log of a process.
    #[must_use]
    pub fn logged(&self, member: Member) -> String {
        std::fs::read_to_string(self.log(member)).unwrap_or_default()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for member in self.members() {
                let log = self.logged(member);
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(30)..].join("\n");
                eprintln!("--- {member:?}\n{tail}");
            }
        }
    }
}
