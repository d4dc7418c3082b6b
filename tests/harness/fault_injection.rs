//! Faults in the middle of operations of a deployment: a process is killed, or its connections are cut, and then all
//! must be well. Tests run a few of them, `make soak` all.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quorate_core::sealing_key::SealingKey;
use quorate_kit::random32;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Row;

use crate::embedded::{Caller, Reply, SHARES_KEY, try_send};
use crate::fleet::{DatabaseOf, Fleet, FleetSetup, Member};
use crate::random::Random;
use crate::services::unique;
use crate::user::{User, sealing_key};
use crate::verification::is_signed_by;

/// How long after a fault all must be well again.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a supervisor takes to start a process again.
const RESTART_DELAY: Duration = Duration::from_millis(300);

/// How long a caller goes on with a request that fails for now.
const CALL_TIMEOUT: Duration = Duration::from_secs(75);

/// Errors that tell a caller to try again, or that a party was lost in the middle.
const TYPED: [&str; 6] =
    ["deadline_passed", "unavailable", "parties_unavailable", "busy", "overloaded", "in_progress"];

const ACCOUNTS: &str = "/api/v1/accounts";

/// The operation during which the fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum FaultOperation {
    Keygen,
    Sign,
    Refresh,
}

/// All operations.
pub const OPERATIONS: [FaultOperation; 3] =
    [FaultOperation::Keygen, FaultOperation::Sign, FaultOperation::Refresh];

/// The fault.
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
    /// The operation.
    pub operation: FaultOperation,
    /// The process that it happens to.
    pub member: Member,
    /// When it happens: how much of the operation is over, from 0 to 1.
    pub at: f64,
    /// The fault.
    pub fault: Fault,
}

/// A moment of one of `phases` equal parts of an operation.
#[must_use]
pub fn moment(phase: u32, phases: u32, random: &mut Random) -> f64 {
    (f64::from(phase) + random.fraction()) / f64::from(phases)
}

/// How a case went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happened {
    /// The operation was under way when the fault happened.
    pub in_time: bool,
    /// It had a result in spite of it.
    pub had_result: bool,
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

/// A deployment to which faults happen, with an account that no user has to do with or another, as cases need them.
pub struct Faults {
    fleet: Fleet,
    seal_to: SealingKey,
    plain: Option<Undisturbed>,
    users: Option<Undisturbed>,
}

/// An account, and how long its operations take when nothing happens.
struct Undisturbed {
    account: Account,
    takes: BTreeMap<FaultOperation, Duration>,
}

/// The place of an operation: its deployment and account.
struct Scene<'a> {
    fleet: &'a Fleet,
    seal_to: &'a SealingKey,
    case: &'a str,
    /// When there was an answer.
    answered: Mutex<Option<Instant>>,
}

impl Faults {
    /// Starts one, with two of everything but parties.
    pub async fn start() -> Self {
        let fleet = Fleet::start(FleetSetup { party_apis: 2, wires: true, ..FleetSetup::default() }).await;
        let path = "/api/v1/shares/key";
        let seal_to = sealing_key(&party_apis(&fleet)[1].get(path).await.good());
        Self { fleet, seal_to, plain: None, users: None }
    }

    /// Makes an account, and sees how long its operations take.
    async fn undisturbed(&self, with_user: bool) -> Undisturbed {
        let scene = || Scene::new(&self.fleet, &self.seal_to, "before any fault");
        let account = scene().create_once(with_user).await.expect("an account");
        let mut undisturbed = Undisturbed { account, takes: BTreeMap::new() };
        for operation in OPERATIONS {
            let (scene, began) = (scene(), Instant::now());
            assert!(scene.operate(operation, &mut undisturbed.account).await, "{operation:?} does not work");
            undisturbed.takes.insert(operation, scene.answered().unwrap() - began);
        }
        undisturbed
    }

    /// The deployment.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    fn account(&mut self, with_user: bool) -> &mut Option<Undisturbed> {
        if with_user { &mut self.users } else { &mut self.plain }
    }

    /// Lets a fault happen, and looks at what is left: results are right, errors are typed, all parties agree, and
    /// everything works.
    pub async fn happen(&mut self, case: Case) -> Happened {
        let described = format!("{case:?}");
        let with_user = matches!(case.member, Member::PartyApi(_));
        if self.account(with_user).is_none() {
            let undisturbed = self.undisturbed(with_user).await;
            *self.account(with_user) = Some(undisturbed);
        }
        let Undisturbed { account, takes } =
            if with_user { &mut self.users } else { &mut self.plain }.as_mut().expect("it was just made");
        let after = takes[&case.operation].mul_f64(case.at);
        let (had_result, answered, happened) = match case.fault {
            Fault::Kill => {
                let mut victim = self.fleet.take(case.member);
                let scene = Scene::new(&self.fleet, &self.seal_to, &described);
                let killing = async {
                    tokio::time::sleep(after).await;
                    let at = Instant::now();
                    victim.kill().unwrap();
                    // As a supervisor does: a process that dies holds its port until its memory is gone.
                    tokio::task::spawn_blocking(move || victim.wait().unwrap()).await.unwrap();
                    tokio::time::sleep(RESTART_DELAY).await;
                    (scene.fleet.spawn(case.member), at)
                };
                let (had_result, (child, at)) = tokio::join!(scene.operate(case.operation, account), killing);
                let answered = scene.answered();
                self.fleet.adopt(case.member, child);
                self.fleet.await_health(case.member).await;
                (had_result, answered, at)
            }
            Fault::Cut => {
                let scene = Scene::new(&self.fleet, &self.seal_to, &described);
                let cutting = async {
                    tokio::time::sleep(after).await;
                    scene.fleet.cut(case.member);
                    Instant::now()
                };
                let (had_result, at) = tokio::join!(scene.operate(case.operation, account), cutting);
                (had_result, scene.answered(), at)
            }
        };
        assert_signs_again(&self.fleet, account, Some(&self.seal_to), &described).await;
        assert_parties_agree(&self.fleet, account, &described).await;
        Happened { in_time: answered.is_none_or(|answered| happened < answered), had_result }
    }
}

/// Checks that a caller got a result, or an error that says what to do. Returns whether it is a result.
pub fn assert_typed(reply: &Reply, case: &str) -> bool {
    let is_result = reply.status < 300;
    assert!(is_result || TYPED.contains(&reply.text("code")), "{case}: {reply:?}");
    is_result
}

fn party_apis(fleet: &Fleet) -> [Caller; 2] {
    [0, 1].map(|index| Caller::new(fleet.address(Member::PartyApi(index))).with_key(SHARES_KEY))
}

impl<'a> Scene<'a> {
    fn new(fleet: &'a Fleet, seal_to: &'a SealingKey, case: &'a str) -> Self {
        Self { fleet, seal_to, case, answered: Mutex::default() }
    }

    fn answered(&self) -> Option<Instant> {
        *self.answered.lock().unwrap()
    }

    /// Makes a request until it works, at one account service after the other, under one key; `None` if it failed
    /// with a typed error that is not for now, or went on failing.
    async fn request(&self, path: &str, body: &Value) -> Option<Reply> {
        let (key, began, case) = (hex::encode(random32()), Instant::now(), self.case);
        for turn in 0.. {
            let caller = self.fleet.caller(turn % 2);
            let request = caller.request(Method::POST, path).header("idempotency-key", &key);
            // A process that was killed in the middle does not answer at all.
            if let Some(reply) = try_send(request.json(body)).await {
                self.answered.lock().unwrap().get_or_insert_with(Instant::now);
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
            if began.elapsed() > CALL_TIMEOUT {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        None
    }

    /// Says whether there was a result.
    async fn operate(&self, operation: FaultOperation, account: &mut Account) -> bool {
        match operation {
            FaultOperation::Keygen => {
                let Some(made) = self.create_once(account.user.is_some()).await else { return false };
                assert_signs_again(self.fleet, &made, Some(self.seal_to), self.case).await;
                assert_parties_agree(self.fleet, &made, self.case).await;
                true
            }
            FaultOperation::Sign => {
                let digest = random32();
                let body = signing(account, Some(self.seal_to), digest);
                let path = format!("{ACCOUNTS}/{}/sign", account.id);
                let Some(signed) = self.request(&path, &body).await else { return false };
                assert!(is_signed_by(&signed, digest, &account.key), "{}: {signed:?}", self.case);
                true
            }
            FaultOperation::Refresh => self.refresh(account).await,
        }
    }

    /// Gives an account new shares; says whether they are there. The user goes on with the old one until the new one is
    /// confirmed.
    async fn refresh(&self, account: &mut Account) -> bool {
        let path = format!("{ACCOUNTS}/{}/refresh", account.id);
        let mut next = User::default();
        let body = match &account.user {
            None => json!({}),
            Some(user) => {
                let sealed = user.for_refresh(self.seal_to, &next);
                json!({
                    "user_share": sealed,
                    "recipient_key": next.recipient(),
                    "claim_hash": next.claim_hash(),
                })
            }
        };
        let Some(refreshed) = self.request(&path, &body).await else { return false };
        assert_eq!(refreshed.text("public_key"), hex::encode(&account.key), "{}", self.case);
        if account.user.is_some() {
            let Some(sealed) = refreshed.body["user_share"].as_str() else { return false };
            next.keep(sealed);
            if !self.confirm(refreshed.text("session_id"), &next).await {
                return false;
            }
            account.user = Some(next);
        }
        true
    }

    /// Confirms a share; false if its time was over.
    async fn confirm(&self, session: &str, user: &User) -> bool {
        let (began, body) = (Instant::now(), json!({ "session_id": session, "claim": user.claim() }));
        for turn in 0.. {
            let request = party_apis(self.fleet)[turn % 2].request(Method::POST, "/api/v1/shares/confirm");
            if let Some(reply) = try_send(request.json(&body)).await {
                match reply.text("code") {
                    "" | "share_already_confirmed" => return true,
                    "share_expired" => return false,
                    code => assert!(TYPED.contains(&code), "{}: {reply:?}", self.case),
                }
            }
            assert!(began.elapsed() < RECOVERY_TIMEOUT, "{}: a share can't be confirmed", self.case);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        false
    }

    /// Makes an account: one, or none. Never two.
    async fn create_once(&self, with_user: bool) -> Option<Account> {
        let (user_id, mut user) = (unique(), User::default());
        let mut body = json!({ "user_id": user_id });
        if with_user {
            body["user_share"] = true.into();
            body["recipient_key"] = user.recipient().into();
            body["claim_hash"] = user.claim_hash().into();
        }
        let made = self.request(ACCOUNTS, &body).await;
        let account = match made {
            None => None,
            Some(made) if with_user => {
                // It is there until it is confirmed.
                user.keep(
                    made.body["user_share"].as_str().unwrap_or_else(|| panic!("{}: {made:?}", self.case)),
                );
                let confirmed = self.confirm(made.text("session_id"), &user).await;
                confirmed.then(|| (made.text("id").to_owned(), Some(user)))
            }
            Some(made) => Some((made.text("id").to_owned(), None)),
        };
        let account = match account {
            None => None,
            Some((id, user)) => Some(Account { key: self.key_of(&id).await, id, user }),
        };
        let active = "SELECT COUNT(*) FROM accounts WHERE user_id = $1 AND state = 'active'";
        let active: i64 = sqlx::query_scalar(active)
            .bind(&user_id)
            .fetch_one(&mut self.fleet.database(DatabaseOf::Account).await)
            .await
            .unwrap();
        assert_eq!(active, i64::from(account.is_some()), "{}: accounts of one request", self.case);
        account
    }

    /// The key of an account that is active, or about to be.
    async fn key_of(&self, id: &str) -> Vec<u8> {
        let began = Instant::now();
        loop {
            let read = self.fleet.caller(1).request(Method::GET, &format!("{ACCOUNTS}/{id}"));
            if let Some(reply) = try_send(read).await
                && reply.text("state") == "active"
            {
                return hex::decode(reply.text("public_key")).unwrap();
            }
            assert!(began.elapsed() < RECOVERY_TIMEOUT, "{}: an account does not become active", self.case);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn signing(account: &Account, seal_to: Option<&SealingKey>, digest: [u8; 32]) -> Value {
    let mut body = json!({ "message": hex::encode(digest) });
    if let Some(user) = &account.user {
        body["user_share"] = user.for_signing(seal_to.expect("a key to seal to"), digest).into();
    }
    body
}

/// Signs until it works, for as long as it may take.
pub async fn assert_signs_again(fleet: &Fleet, account: &Account, seal_to: Option<&SealingKey>, case: &str) {
    let (began, digest) = (Instant::now(), random32());
    loop {
        let path = format!("{ACCOUNTS}/{}/sign", account.id);
        let body = signing(account, seal_to, digest);
        let signed = try_send(fleet.last_caller().request(Method::POST, &path).json(&body)).await;
        match signed {
            Some(signed) if signed.status == 200 => {
                return assert!(is_signed_by(&signed, digest, &account.key), "{case}: {signed:?}");
            }
            other => assert!(began.elapsed() < RECOVERY_TIMEOUT, "{case}: no signature: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until all parties have the same active share set of an account, made by the same session.
pub async fn assert_parties_agree(fleet: &Fleet, account: &Account, case: &str) {
    let began = Instant::now();
    let id = hex::decode(account.id.replace('-', "")).unwrap();
    let third = if account.user.is_some() { DatabaseOf::UserParty } else { DatabaseOf::Party(2) };
    let databases = [DatabaseOf::Party(0), DatabaseOf::Party(1), third];
    let active = "SELECT epoch, plan FROM shares WHERE account = $1 AND state = 'active'";
    loop {
        let mut sets: Vec<Option<(i64, Vec<u8>)>> = Vec::new();
        for database in databases {
            let mut database = fleet.database(database).await;
            let row = sqlx::query(active).bind(&id).fetch_optional(&mut database).await.unwrap();
            sets.push(row.map(|row| (row.get("epoch"), row.get("plan"))));
        }
        if sets[0].is_some() && sets.windows(2).all(|pair| pair[0] == pair[1]) {
            return;
        }
        assert!(began.elapsed() < RECOVERY_TIMEOUT, "{case}: the parties' share sets are {sets:?}");
        // A plan carries the certificate to a party that lags behind.
        for signers in [[1, 2], [1, 3], [2, 3]] {
            let path = format!("{ACCOUNTS}/{}/sign", account.id);
            let body = json!({ "message": hex::encode(random32()), "signers": signers });
            let _ = try_send(fleet.last_caller().request(Method::POST, &path).json(&body)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until no session runs past its deadline, at the coordinators and at all parties, and no plan waits to be
/// published.
pub async fn assert_nothing_is_stuck(fleet: &Fleet) {
    const COORDINATOR: &str = "SELECT (SELECT COUNT(*) FROM outbox)
        + (SELECT COUNT(*) FROM sessions WHERE status = 'running' AND deadline < $1)";
    const PARTY: &str = "SELECT COUNT(*) FROM sessions WHERE outcome IS NULL AND deadline < $1";
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let (now, began) = (i64::try_from(now).unwrap(), Instant::now());
    loop {
        let mut stuck = 0_i64;
        for database in fleet.databases() {
            let query = match database {
                DatabaseOf::Account => continue,
                DatabaseOf::Coordinator => COORDINATOR,
                DatabaseOf::Party(_) | DatabaseOf::UserParty => PARTY,
            };
            let mut database = fleet.database(database).await;
            let is_used: bool = sqlx::query_scalar("SELECT to_regclass('sessions') IS NOT NULL")
                .fetch_one(&mut database)
                .await
                .unwrap();
            if is_used {
                stuck +=
                    sqlx::query_scalar::<_, i64>(query).bind(now).fetch_one(&mut database).await.unwrap();
            }
        }
        if stuck == 0 {
            return;
        }
        // Maintenance runs every half minute, on sessions that have been over for as long.
        assert!(began.elapsed() < Duration::from_secs(100), "{stuck} sessions or plans are stuck");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
