//! What processes may do at RabbitMQ: queues that an administrator makes, and a user with few rights for every role and
//! every party.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use quorate_backends::queue::{MAX_QUEUE_LENGTH, Queue, QueueError, RabbitAddress, RabbitQueue};
use quorate_core::identity::PublicKey;
use quorate_net::topics::{CANCELLED, FRAMES, REPORTS, broker_layout, events_of, presence_of, queue_of};
use quorate_tests::fleet::{Fleet, FleetSetup, Member};
use quorate_tests::services::OwnServer;
use quorate_tests::single_process::program;
use quorate_tests::verification::assert_signed_by;
use serde_json::{Value, json};

/// The users of a deployment, and where their passwords are. A password is the user's name with a word behind it.
const USERS: [&str; 7] = ["coordinator", "router", "account", "party-1", "party-2", "party-3", "user-party"];

/// How long a message may wait.
const TIME_TO_LIVE: Duration = Duration::from_secs(600);

fn password(user: &str) -> String {
    format!("{user}-secret")
}

/// A fleet whose processes log in at a broker of their own, each as the user of its role.
struct World {
    fleet: Fleet,
    server: OwnServer,
}

impl World {
    async fn start() -> Self {
        let mut server = OwnServer::prepare_rabbitmq();
        let mut setup = FleetSetup {
            accounts: 1,
            coordinators: 1,
            routers: 2,
            party_apis: 1,
            makes_queues: false,
            ..FleetSetup::default()
        };
        setup.services[1] = server.url();
        let party = |index: usize| (Member::Party(index), USERS[3 + index]);
        let routers = [Member::Router(0), Member::Router(1)].map(|member| (member, "router"));
        let others = [
            (Member::Account(0), "account"),
            (Member::Coordinator(0), "coordinator"),
            (Member::PartyApi(0), "user-party"),
        ];
        for (member, user) in others.into_iter().chain(routers).chain((0..3).map(party)) {
            let url = server.url_of(user, &password(user));
            setup.own_settings.push((member, "RABBITMQ_URL".into(), url));
        }
        let fleet = Fleet::prepare(setup).await;
        server.define(&definitions(&fleet).to_string());
        server.go().await;
        Self { fleet: fleet.go().await, server }
    }

    /// The broker as a user sees it.
    async fn as_user(&self, user: &str) -> RabbitQueue {
        // A server that has just started lets nobody in for a while: long, where other tests use the processors too.
        let began = Instant::now();
        loop {
            let connected = RabbitQueue::connect(self.address(user), self.fleet.namespace()).await;
            if connected.is_ok() || began.elapsed() > Duration::from_secs(120) {
                return connected.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn address(&self, user: &str) -> RabbitAddress {
        RabbitAddress::new(&self.server.url_of(user, &password(user))).unwrap()
    }
}

/// The definitions for the parties of a fleet, as `quorate deployment rabbitmq-definitions` prints them.
fn definitions(fleet: &Fleet) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("QUORATE_NAMESPACE", fleet.namespace().to_owned()),
        ("QUORATE_PARTY_KEYS", fleet.party_keys().join(",")),
        ("QUORATE_USER_PARTY_KEY", fleet.user_party_key().to_owned()),
    ];
    let settings: String = settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    std::fs::write(folder.path().join(".env"), settings).unwrap();
    let compose = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker-compose.yml");
    std::fs::copy(compose, folder.path().join("docker-compose.yml")).unwrap();
    for user in USERS {
        let secrets = folder.path().join("secrets").join(user);
        std::fs::create_dir_all(&secrets).unwrap();
        std::fs::write(secrets.join("rabbitmq_password"), password(user)).unwrap();
    }
    let mut command = Command::new(program());
    command.env_clear().args(["deployment", "rabbitmq-definitions", "--folder"]).arg(folder.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn keys(fleet: &Fleet) -> Vec<PublicKey> {
    let keys = fleet.party_keys().into_iter().chain([fleet.user_party_key().to_owned()]);
    keys.map(|key| key.parse().unwrap()).collect()
}

#[tokio::test]
async fn every_process_works_with_its_own_rights_and_no_user_may_touch_what_others_use() {
    let world = World::start().await;
    let (id, key) = world.fleet.create(0).await;
    for digest in 0..3 {
        world.fleet.sign(0, &id, &key, [digest; 32]).await;
    }
    let refreshed = world.fleet.caller(0).post(&format!("/api/v1/accounts/{id}/refresh"), &json!({})).await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");

    let keys = keys(&world.fleet);
    let (own, other) = (queue_of(&keys[0]), queue_of(&keys[1]));
    let presences: Vec<String> = keys.iter().map(presence_of).collect();
    // Nobody makes, changes or deletes what others use: not even what is there already.
    for user in USERS {
        let made = broker_layout(world.fleet.namespace(), &keys).create(&world.address(user)).await;
        assert!(made.unwrap_err().to_string().contains("ACCESS_REFUSED"), "{user}");
    }
    let all = [&own, &other];
    for (user, may_fill, may_read) in [
        ("coordinator", &all[..], &[][..]),
        ("party-1", &[], &[&own]),
        ("router", &[], &[]),
        ("account", &[], &[]),
    ] {
        let broker = world.as_user(user).await;
        for queue in all {
            let filled = broker.publish(queue, b"nonsense".to_vec(), TIME_TO_LIVE).await;
            let expected = if may_fill.contains(&queue) { Ok(()) } else { Err(QueueError::Refused) };
            assert_eq!(filled, expected, "{user} fills {queue}");
            let read = broker.consume(queue, 1).await.map(drop);
            let expected = if may_read.contains(&queue) { Ok(()) } else { Err(QueueError::Refused) };
            assert_eq!(read, expected, "{user} reads {queue}");
        }
    }
    let shared = [CANCELLED, REPORTS, FRAMES].map(str::to_owned);
    let events: Vec<String> = keys.iter().map(events_of).collect();
    let of_parties = presences.clone().into_iter().chain(events.clone());
    let topics: Vec<String> = shared.into_iter().chain(of_parties).collect();
    for (user, heard) in [
        ("coordinator", [vec![REPORTS.to_owned()], presences].concat()),
        ("router", vec![FRAMES.to_owned()]),
        ("account", events),
        ("party-1", vec![CANCELLED.to_owned()]),
    ] {
        let broker = world.as_user(user).await;
        for topic in &topics {
            let listened = broker.listen(topic).await.map(drop);
            let expected = if heard.contains(topic) { Ok(()) } else { Err(QueueError::Refused) };
            assert_eq!(listened, expected, "{user} listens to {topic}");
        }
    }
    // Who tries what it may not disturbs nobody.
    let hostile = world.as_user("party-1").await;
    for topic in [REPORTS, FRAMES, CANCELLED, &presence_of(&keys[1])] {
        let _ = hostile.announce(topic, b"nonsense".to_vec()).await;
    }
    for digest in 10..13 {
        world.fleet.sign(0, &id, &key, [digest; 32]).await;
    }
}

#[tokio::test]
async fn a_party_that_does_not_empty_its_queue_stops_nobody_else() {
    let mut world = World::start().await;
    let (id, key) = world.fleet.create(0).await;
    let queue = queue_of(&keys(&world.fleet)[0]);

    // From now on party 1 says that it is there, and takes nothing out of its queue, which is full.
    let mut definitions = definitions(&world.fleet);
    let permissions = definitions["permissions"].as_array_mut().unwrap();
    let rights = permissions.iter_mut().find(|rights| rights["user"] == "party-1").unwrap();
    let read = rights["read"].as_str().unwrap().replace(&queue.replace('.', "[.]"), "nothing");
    rights["read"] = read.into();
    world.server.kill();
    world.server.define(&definitions.to_string());
    world.server.go().await;
    let coordinator = world.as_user("coordinator").await;
    let mut taken = 0;
    loop {
        let publishing = (0..100).map(|_| coordinator.publish(&queue, b"nonsense".to_vec(), TIME_TO_LIVE));
        let published = futures::future::join_all(publishing).await;
        taken += published.iter().filter(|published| published.is_ok()).count();
        if published.contains(&Err(QueueError::Full)) {
            break;
        }
        assert!(taken < 2 * MAX_QUEUE_LENGTH, "the queue is never full: {:?}", published[0]);
    }
    // Until all processes have connected again.
    let began = Instant::now();
    while world.fleet.caller(0).sign(&id, [0; 32]).await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(120), "nothing is signed");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    for digest in 1..=6 {
        let signed = world.fleet.caller(0).sign(&id, [digest; 32]).await;
        assert_eq!(signed.status, 200, "{signed:?}");
        assert_eq!(signed.body["signers"], json!([2, 3]));
        assert_signed_by(&signed, [digest; 32], &key);
    }
    // What takes all parties is refused at once, and the party is named.
    let refused = world.fleet.caller(0).post("/api/v1/accounts", &json!({ "user_id": "user123" })).await;
    assert_eq!((refused.status, refused.text("code")), (503, "overloaded"), "{refused:?}");
}

/// A process that misses its queue says which command makes it, and goes on once it is there.
#[tokio::test]
async fn queues_are_made_by_a_command_that_processes_name() {
    let setup = FleetSetup {
        accounts: 1,
        coordinators: 1,
        routers: 1,
        parties: 2,
        makes_queues: false,
        ..FleetSetup::default()
    };
    let fleet = Fleet::start(setup).await;
    let refused = fleet.caller(0).post("/api/v1/accounts", &json!({ "user_id": "user123" })).await;
    assert_eq!(refused.status / 100, 5, "{refused:?}");
    for member in [Member::Party(0), Member::Coordinator(0), Member::Router(0)] {
        assert!(fleet.logged(member).contains("quorate migrate queues"), "{member:?}");
    }
    let command = || {
        let mut command = Command::new(program());
        command.env_clear().args(["migrate", "queues"]).env("QUORATE_NAMESPACE", fleet.namespace());
        command.env("RABBITMQ_URL", quorate_tests::services::service("TEST_RABBITMQ_URL"));
        command
    };
    let said = |mut command: Command| {
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (made, text) = said(command());
    assert!(!made && text.contains("QUORATE_PARTY_KEYS"), "{text}");
    for _ in 0..2 {
        let mut command = command();
        command.env("QUORATE_PARTY_KEYS", fleet.party_keys().join(","));
        let (made, text) = said(command);
        assert!(made, "{text}");
    }
    // Processes look again each second.
    let mut waited = 0;
    loop {
        let made = fleet.caller(0).post("/api/v1/accounts", &json!({ "user_id": "user123" })).await;
        if made.status == 201 {
            break;
        }
        waited += 1;
        assert!(waited < 10, "{made:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
