//! Faults in the middle of operations of a deployment: a process is killed, or its connections are cut, and then all must be
//! well. Tests run a few of them, `make soak` all.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Row;

use crate::deployment::{Caller, Reply, try_send};
use crate::fleet::{Fleet, FleetSetup, Member};
use crate::random::Random;
use crate::sandbox::random32;
use crate::services::unique;
use crate::user::User;
use crate::verified::is_signed_by;

/// How long after a fault all must be well again.
const WELL_AGAIN: Duration = Duration::from_secs(30);

/// How long a supervisor takes to start a process again.
const SUPERVISOR: Duration = Duration::from_millis(300);

/// How long a caller goes on with a request that fails for now.
const PATIENCE: Duration = Duration::from_secs(75);

/// Errors that tell a caller to try again, or that a party was lost in the middle.
const TYPED: [&str; 6] =
    ["deadline_passed", "unavailable", "parties_unavailable", "busy", "overloaded", "in_progress"];

const ACCOUNTS: &str = "/api/v1/accounts";

/// What the deployment is doing when the fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operation {
    Keygen,
    Sign,
    Refresh,
}

/// All operations.
pub const OPERATIONS: [Operation; 3] = [Operation::Keygen, Operation::Sign, Operation::Refresh];

impl Operation {
    /// How long it takes when nothing happens.
    fn takes(self) -> Duration {
        match self {
            Self::Keygen | Self::Refresh => Duration::from_millis(2_400),
            Self::Sign => Duration::from_millis(60),
        }
    }

    /// A moment of one of `phases` equal parts of it.
    #[must_use]
    pub fn moment(self, phase: u32, phases: u32, random: &mut Random) -> Duration {
        let part = self.takes() / phases;
        part * phase + part.mul_f64(random.fraction())
    }
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed, and started again by a supervisor.
    Kill,
    /// All connections from and to the process break.
    Cut,
}

/// All faults.
pub const FAULTS: [Fault; 2] = [Fault::Kill, Fault::Cut];

/// One fault. That of a party API happens in an operation with a user's share.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What is going on.
    pub operation: Operation,
    /// Whom it happens to.
    pub member: Member,
    /// When it happens.
    pub after: Duration,
    /// What happens.
    pub fault: Fault,
}

/// An account.
pub struct Account {
    /// Its id.
    pub id: String,
    /// Its public key.
    pub key: Vec<u8>,
    /// The user who keeps a share of it.
    pub user: Option<User>,
}

/// A deployment to which faults happen, with an account that no user has to do with and another.
pub struct Faults {
    fleet: Fleet,
    seal_to: String,
    plain: Account,
    users: Account,
}

impl Faults {
    /// Starts one, with two of everything but parties.
    pub async fn start() -> Self {
        let fleet = Fleet::start(FleetSetup { party_apis: 2, wires: true, ..FleetSetup::default() }).await;
        let path = "/api/v1/shares/key";
        let seal_to = party_apis(&fleet)[1].get(path).await.good().text("key").to_owned();
        let (plain, users) = (create(&fleet, false).await, create(&fleet, true).await);
        let (plain, users) = (plain.expect("an account"), users.expect("an account"));
        Self { fleet, seal_to, plain, users }
    }

    /// The deployment.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Lets a fault happen, and looks at what is left: results are right, errors are typed, all parties agree, and
    /// everything works. Says whether the operation had a result in spite of it.
    pub async fn happen(&mut self, case: Case) -> bool {
        let described = format!("{case:?}");
        let account = match case.member {
            Member::PartyApi(_) => &mut self.users,
            _ => &mut self.plain,
        };
        let had_result = match case.fault {
            Fault::Kill => {
                let mut victim = self.fleet.take(case.member);
                let fleet = &self.fleet;
                let killing = async {
                    tokio::time::sleep(case.after).await;
                    victim.kill().unwrap();
                    // As a supervisor does: a process that dies holds its port until its memory is gone.
                    tokio::task::spawn_blocking(move || victim.wait().unwrap()).await.unwrap();
                    tokio::time::sleep(SUPERVISOR).await;
                    fleet.spawn(case.member)
                };
                let operating = operate(fleet, case.operation, account, &self.seal_to, &described);
                let (had_result, child) = tokio::join!(operating, killing);
                self.fleet.adopt(case.member, child);
                self.fleet.await_health(case.member).await;
                had_result
            }
            Fault::Cut => {
                let cutting = async {
                    tokio::time::sleep(case.after).await;
                    self.fleet.cut(case.member);
                };
                let operating = operate(&self.fleet, case.operation, account, &self.seal_to, &described);
                tokio::join!(operating, cutting).0
            }
        };
        assert_signs_again(&self.fleet, account, &self.seal_to, &described).await;
        assert_parties_agree(&self.fleet, account, &described).await;
        had_result
    }
}

/// What a caller may get: a result, or an error that says what to do. Says whether it is a result.
pub fn assert_typed(reply: &Reply, case: &str) -> bool {
    let is_result = reply.status < 300;
    assert!(is_result || TYPED.contains(&reply.text("code")), "{case}: {reply:?}");
    is_result
}

fn party_apis(fleet: &Fleet) -> [Caller; 2] {
    [0, 1].map(|index| Caller::new(fleet.address(Member::PartyApi(index))))
}

/// Makes a request until it works, at one replica after the other, under one key; `None` if it failed with a typed error
/// that is not for now, or went on failing.
async fn request(callers: &[Caller; 2], path: &str, body: &Value, case: &str) -> Option<Reply> {
    let (key, began) = (hex::encode(random32()), Instant::now());
    for turn in 0.. {
        let request = callers[turn % 2].request(Method::POST, path).header("idempotency-key", &key);
        // A process that was killed in the middle does not answer at all.
        if let Some(reply) = try_send(request.json(body)).await {
            if reply.status < 300 {
                return Some(reply);
            }
            let code = reply.text("code");
            // A user's share is sealed for one request: that it was used says that the request had arrived.
            let used = code == "user_share_replayed" && turn > 0;
            assert!(TYPED.contains(&code) || used, "{case}: {reply:?}");
            if used || code == "busy" {
                return None;
            }
        }
        if began.elapsed() > PATIENCE {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    None
}

fn services(fleet: &Fleet) -> [Caller; 2] {
    [fleet.caller(0), fleet.caller(1)]
}

/// Says whether there was a result.
async fn operate(
    fleet: &Fleet,
    operation: Operation,
    account: &mut Account,
    seal_to: &str,
    case: &str,
) -> bool {
    match operation {
        Operation::Keygen => {
            let Some(made) = create_once(fleet, account.user.is_some(), case).await else { return false };
            assert_signs_again(fleet, &made, seal_to, case).await;
            assert_parties_agree(fleet, &made, case).await;
            true
        }
        Operation::Sign => {
            let digest = random32();
            let body = signing(account, seal_to, digest);
            let path = format!("{ACCOUNTS}/{}/sign", account.id);
            let Some(signed) = request(&services(fleet), &path, &body, case).await else { return false };
            assert!(is_signed_by(&signed, digest, &account.key), "{case}: {signed:?}");
            true
        }
        Operation::Refresh => refresh(fleet, account, seal_to, case).await,
    }
}

fn signing(account: &Account, seal_to: &str, digest: [u8; 32]) -> Value {
    let mut body = json!({ "message": hex::encode(digest) });
    if let Some(user) = &account.user {
        body["user_share"] = user.for_signing(seal_to, digest).into();
    }
    body
}

/// Gives an account new shares; says whether they are there. The user goes on with the old one until the new one is confirmed.
async fn refresh(fleet: &Fleet, account: &mut Account, seal_to: &str, case: &str) -> bool {
    let path = format!("{ACCOUNTS}/{}/refresh", account.id);
    let mut next = User::default();
    let body = match &account.user {
        None => json!({}),
        Some(user) => {
            json!({ "user_share": user.for_refresh(seal_to, &next), "recipient_key": next.recipient() })
        }
    };
    let Some(refreshed) = request(&services(fleet), &path, &body, case).await else { return false };
    assert_eq!(refreshed.text("public_key"), hex::encode(&account.key), "{case}");
    if account.user.is_some() {
        let Some(sealed) = refreshed.body["user_share"].as_str() else { return false };
        next.keep(sealed);
        if !confirm(fleet, refreshed.text("session_id"), case).await {
            return false;
        }
        account.user = Some(next);
    }
    true
}

/// Confirms a share; false if its time was over.
async fn confirm(fleet: &Fleet, session: &str, case: &str) -> bool {
    let began = Instant::now();
    for turn in 0.. {
        let request = party_apis(fleet)[turn % 2].request(Method::POST, "/api/v1/shares/confirm");
        if let Some(reply) = try_send(request.json(&json!({ "session_id": session }))).await {
            match reply.text("code") {
                "" | "share_already_confirmed" => return true,
                "share_expired" => return false,
                code => assert!(TYPED.contains(&code), "{case}: {reply:?}"),
            }
        }
        assert!(began.elapsed() < WELL_AGAIN, "{case}: a share can't be confirmed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    false
}

async fn create(fleet: &Fleet, with_user: bool) -> Option<Account> {
    create_once(fleet, with_user, "before any fault").await
}

/// Makes an account: one, or none. Never two.
async fn create_once(fleet: &Fleet, with_user: bool, case: &str) -> Option<Account> {
    let (user_id, mut user) = (unique(), User::default());
    let mut body = json!({ "user_id": user_id });
    if with_user {
        body["user_share"] = true.into();
        body["recipient_key"] = user.recipient().into();
    }
    let made = request(&services(fleet), ACCOUNTS, &body, case).await;
    let account = match made {
        None => None,
        Some(made) if with_user => match made.body["user_share"].as_str() {
            Some(sealed) => {
                user.keep(sealed);
                confirm(fleet, made.text("session_id"), case)
                    .await
                    .then(|| (made.text("id").to_owned(), Some(user)))
            }
            // What waits for the user can't be shown now: the account stays pending, and is good for nothing.
            None => None,
        },
        Some(made) => Some((made.text("id").to_owned(), None)),
    };
    let account = match account {
        None => None,
        Some((id, user)) => Some(Account { key: key_of(fleet, &id, case).await, id, user }),
    };
    let active = "SELECT COUNT(*) FROM accounts WHERE user_id = $1 AND state = 'active'";
    let active: i64 = sqlx::query_scalar(active)
        .bind(&user_id)
        .fetch_one(&mut fleet.databases.connect(0).await)
        .await
        .unwrap();
    assert_eq!(active, i64::from(account.is_some()), "{case}: accounts of one request");
    account
}

/// The key of an account that is active, or about to be.
async fn key_of(fleet: &Fleet, id: &str, case: &str) -> Vec<u8> {
    let began = Instant::now();
    loop {
        let read = fleet.caller(1).request(Method::GET, &format!("{ACCOUNTS}/{id}"));
        if let Some(reply) = try_send(read).await
            && reply.text("state") == "active"
        {
            return hex::decode(reply.text("public_key")).unwrap();
        }
        assert!(began.elapsed() < WELL_AGAIN, "{case}: an account does not become active");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Signs until it works, for as long as it may take.
pub async fn assert_signs_again(fleet: &Fleet, account: &Account, seal_to: &str, case: &str) {
    let (began, digest) = (Instant::now(), random32());
    loop {
        let path = format!("{ACCOUNTS}/{}/sign", account.id);
        let body = signing(account, seal_to, digest);
        let signed = try_send(fleet.last_caller().request(Method::POST, &path).json(&body)).await;
        match signed {
            Some(signed) if signed.status == 200 => {
                return assert!(is_signed_by(&signed, digest, &account.key), "{case}: {signed:?}");
            }
            other => assert!(began.elapsed() < WELL_AGAIN, "{case}: no signature: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until all parties have the same active share set of an account, made by the same session.
pub async fn assert_parties_agree(fleet: &Fleet, account: &Account, case: &str) {
    let began = Instant::now();
    let id = hex::decode(account.id.replace('-', "")).unwrap();
    // The user's party has the last database, the others one each.
    let databases = if account.user.is_some() { [1, 2, 4] } else { [1, 2, 3] };
    let active = "SELECT epoch, plan FROM shares WHERE account = $1 AND state = 'active'";
    loop {
        let mut sets: Vec<Option<(i64, Vec<u8>)>> = Vec::new();
        for database in databases {
            let mut database = fleet.databases.connect(database).await;
            let row = sqlx::query(active).bind(&id).fetch_optional(&mut database).await.unwrap();
            sets.push(row.map(|row| (row.get("epoch"), row.get("plan"))));
        }
        if sets[0].is_some() && sets.windows(2).all(|pair| pair[0] == pair[1]) {
            return;
        }
        assert!(began.elapsed() < WELL_AGAIN, "{case}: the parties' share sets are {sets:?}");
        // A plan carries the certificate to a party that lags behind.
        for signers in [[1, 2], [1, 3], [2, 3]] {
            let path = format!("{ACCOUNTS}/{}/sign", account.id);
            let body = json!({ "message": hex::encode(random32()), "signers": signers });
            let _ = try_send(fleet.last_caller().request(Method::POST, &path).json(&body)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until no session runs past its deadline, at the coordinators and at all parties, and no plan waits to be published.
pub async fn assert_nothing_is_stuck(fleet: &Fleet) {
    const CONTROL: &str = "SELECT (SELECT COUNT(*) FROM outbox)
        + (SELECT COUNT(*) FROM sessions WHERE status = 'running' AND deadline < $1)";
    const PARTY: &str = "SELECT COUNT(*) FROM sessions WHERE outcome IS NULL AND deadline < $1";
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let (now, began) = (i64::try_from(now).unwrap(), Instant::now());
    loop {
        let mut stuck = 0_i64;
        for database in 0..fleet.databases.count() {
            let query = if database == 0 { CONTROL } else { PARTY };
            let count = sqlx::query_scalar::<_, i64>(query).bind(now);
            stuck += count.fetch_one(&mut fleet.databases.connect(database).await).await.unwrap();
        }
        if stuck == 0 {
            return;
        }
        // Whoever keeps house does so every half minute, with what is over for as long.
        assert!(began.elapsed() < Duration::from_secs(100), "{stuck} sessions or plans are stuck");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
