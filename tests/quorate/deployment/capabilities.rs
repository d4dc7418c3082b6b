//! Components that keep values in Redis and say something over RabbitMQ: where the operator grants it, and with nobody relying on it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use quorate_backends::cache::{Cache, RedisAddress, RedisCache};
use quorate_core::identity::PublicKey;
use quorate_party::cache_prefix_of;
use quorate_tests::components;
use quorate_tests::embedded::Reply;
use quorate_tests::fleet::{Fleet, FleetSetup, Member};
use quorate_tests::services::OwnServer;
use quorate_tests::single_process::program;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const HOUR: Duration = Duration::from_secs(3_600);

/// How long events may be on their way.
const PATIENCE: Duration = Duration::from_secs(30);

/// A fleet of two parties with a component that counts in the cache how often it was here, says so, and fails.
struct Talking {
    fleet: Fleet,
    redis: OwnServer,
}

impl Talking {
    async fn start() -> Self {
        let redis = OwnServer::start("redis").await;
        let settings = [
            ("QUORATE_PLUGIN_GRANTS".to_owned(), "talkative=cache+bus".to_owned()),
            ("REDIS_URL".to_owned(), redis.url()),
        ];
        let setup = FleetSetup {
            parties: 2,
            coordinators: 1,
            routers: 1,
            plugins: vec![components::folder().join("talkative.wasm")],
            settings: settings.into(),
            ..FleetSetup::default()
        };
        Self { fleet: Fleet::start(setup).await, redis }
    }

    /// Has an account made, which fails, and gives what the parties' components have said of the session.
    async fn events(&self) -> Vec<Value> {
        let threshold = json!({ "t": 2, "n": 2 });
        let body = json!({ "user_id": "user123", "protocol": "talkative", "threshold": threshold });
        let failed = self.fleet.caller(0).post("/api/v1/accounts", &body).await;
        assert_eq!(failed.text("code"), "plugin_fault", "{}", failed.body);
        let path = format!("/api/v1/sessions/{}", failed.text("session_id"));
        let told = async {
            loop {
                // Every account service hears of them.
                let session = self.fleet.caller(1).get(&path).await.good();
                if levels(&session).len() == 2 {
                    return session;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let session = tokio::time::timeout(PATIENCE, told).await.expect("no events");
        session.body["events"].as_array().unwrap().clone()
    }

    /// How often each party's component was here before.
    async fn visits(&self) -> Vec<u64> {
        let events = self.events().await;
        events.iter().filter_map(|event| event["level"].as_u64()).collect()
    }

    /// Waits until the components of both parties have found what they kept so often. Any visit may find nothing: Redis is given a moment
    /// only.
    async fn until_found(&self, times: u64) {
        let found = async { while self.visits().await.iter().any(|visits| *visits < times) {} };
        tokio::time::timeout(PATIENCE, found).await.expect("the parties find nothing in Redis");
    }

    /// Where a party keeps its count.
    fn name(&self, party: usize) -> String {
        let key: PublicKey = self.fleet.party_keys()[party].parse().unwrap();
        let digest = hex::encode(Sha256::digest(components::bytes("talkative")));
        format!("{}:{digest}:visits", cache_prefix_of(&key))
    }
}

fn levels(session: &Reply) -> Vec<u64> {
    let events = session.body["events"].as_array().into_iter().flatten();
    events.filter_map(|event| event["level"].as_u64()).collect()
}

/// What is kept under a name, once nobody writes it any more: a party stores a value after its session has gone on.
async fn settled(redis: &RedisCache, name: &str) -> Vec<u8> {
    let mut before = None;
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let now = redis.get(name).await.unwrap();
        if let Some(value) = now.clone().filter(|_| now == before) {
            return value;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("{name} is not kept, or written without end");
}

#[tokio::test]
async fn components_use_redis_and_rabbitmq_where_they_may_and_nobody_relies_on_it() {
    let mut talking = Talking::start().await;
    let first = talking.events().await;
    for party in [1, 2] {
        let said: Vec<&Value> = first.iter().filter(|event| event["party"] == party).collect();
        let expected = [
            json!({ "party": party, "kind": "progress", "step": 1, "of": 2 }),
            json!({ "party": party, "kind": "pool_level", "level": 0 }),
            json!({ "party": party, "kind": "note", "code": 7 }),
            json!({ "party": party, "kind": "note", "code": 65_535 }),
        ];
        // The last may still be on their way.
        assert!(said.len() >= 2 && said.iter().zip(&expected).all(|(a, b)| *a == b), "{said:?}");
    }
    talking.until_found(2).await;

    // Redis lies: the count of one party is that of the other, or was written by somebody.
    let address = RedisAddress::new(&talking.redis.url()).unwrap();
    let redis = RedisCache::new(address, talking.fleet.namespace()).unwrap();
    let (one, two) = (talking.name(0), talking.name(1));
    let of_one = settled(&redis, &one).await;
    settled(&redis, &two).await;
    redis.set(&two, of_one, HOUR).await.unwrap();
    assert_eq!(talking.visits().await[1], 0);
    settled(&redis, &one).await;
    redis.set(&one, vec![9; 41], HOUR).await.unwrap();
    assert_eq!(talking.visits().await[0], 0);

    // Redis is gone, and sessions go on.
    talking.redis.kill();
    assert_eq!(talking.visits().await, [0, 0]);
    talking.redis.go().await;
    talking.until_found(1).await;

    // A new process has another key.
    talking.fleet.kill(Member::Party(0));
    talking.fleet.restart(Member::Party(0)).await;
    assert_eq!(talking.visits().await[0], 0);
}

#[tokio::test]
async fn a_component_without_its_grants_is_not_loaded_and_the_log_says_what_to_do() {
    let mut fleet = Fleet::prepare(FleetSetup {
        plugins: vec![components::folder().join("talkative.wasm")],
        ..FleetSetup::small()
    })
    .await;
    fleet.launch(Member::Party(0));
    let mut process = fleet.take(Member::Party(0));
    assert!(!process.wait().unwrap().success());
    let said = fleet.logged(Member::Party(0));
    assert!(said.contains("the capability cache") && said.contains("QUORATE_PLUGIN_GRANTS"), "{said}");
}

/// The users of Redis, as `quorate deployment redis-users` prints them for these parties.
fn users(keys: &[PublicKey]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let list = keys[..3].iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let settings = format!(
        "QUORATE_NAMESPACE=ns\nQUORATE_PARTY_KEYS={list}\nQUORATE_USER_PARTY_KEY={}\nREDIS_PASSWORD=of-account-services\n",
        keys[3]
    );
    std::fs::write(folder.path().join(".env"), settings).unwrap();
    let compose = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker-compose.yml");
    std::fs::copy(compose, folder.path().join("docker-compose.yml")).unwrap();
    for user in ["party-1", "party-2", "party-3", "user-party"] {
        let secrets = folder.path().join("secrets").join(user);
        std::fs::create_dir_all(&secrets).unwrap();
        std::fs::write(secrets.join("redis_password"), format!("{user}-secret")).unwrap();
    }
    let mut command = Command::new(program());
    command.env_clear().args(["deployment", "redis-users", "--folder"]).arg(folder.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_party_reaches_its_own_values_at_redis_and_no_others() {
    let server = OwnServer::start("redis").await;
    let keys: Vec<PublicKey> = (1..=4).map(|byte| PublicKey([byte; 32])).collect();
    let mut administrator =
        redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    // As the file of users has them; that of the account services, which this connection uses, comes last.
    let users = users(&keys);
    for line in users.lines().rev() {
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        let mut command = redis::cmd("ACL");
        command.arg("SETUSER").arg(words).exec_async(&mut administrator).await.unwrap();
    }
    let as_user = |login: &str| {
        let url = server.url().replace("redis://", &format!("redis://{login}@"));
        RedisCache::new(RedisAddress::new(&url).unwrap(), "ns").unwrap()
    };
    let (party, other) = (as_user("party-1:party-1-secret"), as_user("party-2:party-2-secret"));
    party.ping().await.unwrap();
    let name = format!("{}:digest:a", cache_prefix_of(&keys[0]));
    party.set(&name, vec![1], HOUR).await.unwrap();
    assert_eq!(party.get(&name).await, Ok(Some(vec![1])));
    assert!(other.get(&name).await.is_err() && other.set(&name, vec![2], HOUR).await.is_err());
    assert!(party.get("answers").await.is_err() && party.count(&name, HOUR).await.is_err());
    assert!(as_user("party-1:party-2-secret").get(&name).await.is_err());
    let accounts = as_user(":of-account-services");
    assert_eq!(accounts.get(&name).await, Ok(Some(vec![1])));
    assert!(as_user(":another").get(&name).await.is_err());
}
