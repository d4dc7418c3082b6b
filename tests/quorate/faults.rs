//! Processes that are killed in the middle of an operation: what was promised holds, what failed says why, and the next
//! operation works.

use std::time::{Duration, Instant};

use quorate_tests::deployment::Reply;
use quorate_tests::fleet::{Fleet, FleetSetup, Member};
use serde_json::json;
use sqlx::Row;

use crate::processes::{assert_signed_by, create};

/// How long after a fault all must be well again.
const WELL_AGAIN: Duration = Duration::from_secs(30);

/// How long a supervisor takes to start a process again.
const SUPERVISOR: Duration = Duration::from_millis(300);

/// Errors that tell a caller to try again, or that a party was lost in the middle.
const TYPED: [&str; 5] = ["deadline_passed", "unavailable", "parties_unavailable", "busy", "overloaded"];

/// An operation, and how long it takes when nothing happens.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Keygen,
    Sign,
    Refresh,
}

impl Operation {
    fn takes(self) -> Duration {
        match self {
            Self::Keygen | Self::Refresh => Duration::from_millis(2_400),
            Self::Sign => Duration::from_millis(60),
        }
    }
}

/// An account that is there before the fault.
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) key: Vec<u8>,
    pub(crate) epoch: u64,
}

async fn operate(fleet: &Fleet, operation: Operation, account: &Account) -> Reply {
    let caller = fleet.caller(1);
    match operation {
        Operation::Keygen => caller.post("/api/v1/accounts", &json!({ "user_id": "during a fault" })).await,
        Operation::Sign => caller.sign(&account.id, [3; 32]).await,
        Operation::Refresh => {
            caller.post(&format!("/api/v1/accounts/{}/refresh", account.id), &json!({})).await
        }
    }
}

/// What a caller may get: a result that is right, or an error that says what to do.
pub(crate) fn assert_typed(reply: &Reply, case: &str) -> bool {
    if reply.status < 300 {
        return true;
    }
    let code = reply.body["code"].as_str().unwrap_or_default();
    assert!(TYPED.contains(&code), "{case}: {reply:?}");
    false
}

/// Signs until it works, for as long as it may take.
pub(crate) async fn assert_signs_again(fleet: &Fleet, account: &Account, case: &str) {
    let began = Instant::now();
    loop {
        let signed = fleet.caller(1).sign(&account.id, [4; 32]).await;
        if signed.status == 200 {
            return assert_signed_by(&signed, [4; 32], &account.key);
        }
        assert!(began.elapsed() < WELL_AGAIN, "{case}: no signature: {signed:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until all parties have the same active share set of an account and none is held up.
pub(crate) async fn assert_parties_agree(fleet: &Fleet, account: &Account, case: &str) {
    let began = Instant::now();
    let id = uuid(&account.id);
    loop {
        let mut epochs = Vec::new();
        for party in 0..3 {
            let mut database = fleet.databases.connect(1 + party).await;
            let row = sqlx::query("SELECT max(epoch) FROM shares WHERE account = $1 AND state = 'active'")
                .bind(&id)
                .fetch_one(&mut database)
                .await
                .unwrap();
            epochs.push(row.get::<Option<i64>, _>(0));
        }
        if epochs.windows(2).all(|pair| pair[0] == pair[1]) {
            return;
        }
        assert!(began.elapsed() < WELL_AGAIN, "{case}: parties are at epochs {epochs:?}");
        // A plan carries the certificate to a party that lags behind.
        for signers in [[1, 2], [1, 3], [2, 3]] {
            let path = format!("/api/v1/accounts/{}/sign", account.id);
            let body = json!({ "message": hex::encode([5; 32]), "signers": signers });
            fleet.caller(1).post(&path, &body).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn uuid(text: &str) -> Vec<u8> {
    hex::decode(text.replace('-', "")).unwrap()
}

/// Kills one process in the middle of an operation, starts it again, and looks at what is left.
async fn kill_during(
    fleet: &mut Fleet,
    operation: Operation,
    member: Member,
    moment: f64,
    account: &mut Account,
) {
    let case = format!("{member:?} killed at {moment:.2} of {operation:?}");
    let (reply, child) = {
        let after = operation.takes().mul_f64(moment);
        let mut victim = fleet.take(member);
        let fleet = &*fleet;
        let killing = async {
            tokio::time::sleep(after).await;
            victim.kill().unwrap();
            // As a supervisor does: a process that dies holds its port until its memory is gone.
            tokio::task::spawn_blocking(move || victim.wait().unwrap()).await.unwrap();
            tokio::time::sleep(SUPERVISOR).await;
            fleet.spawn(member)
        };
        tokio::join!(operate(fleet, operation, account), killing)
    };
    fleet.adopt(member, child);
    fleet.await_health(member).await;
    if assert_typed(&reply, &case) {
        match operation {
            Operation::Sign => assert_signed_by(&reply, [3; 32], &account.key),
            Operation::Refresh => {
                assert_eq!(reply.text("public_key"), hex::encode(&account.key), "{case}");
                account.epoch += 1;
                assert_eq!(reply.body["epoch"].as_u64(), Some(account.epoch), "{case}");
            }
            Operation::Keygen => {
                let made = Account {
                    id: reply.text("id").to_owned(),
                    key: hex::decode(reply.text("public_key")).unwrap(),
                    epoch: 1,
                };
                assert_signs_again(fleet, &made, &case).await;
                assert_parties_agree(fleet, &made, &case).await;
            }
        }
    }
    assert_signs_again(fleet, account, &case).await;
    assert_parties_agree(fleet, account, &case).await;
    // A refresh whose answer was lost may have worked.
    let now = fleet.caller(1).get(&format!("/api/v1/accounts/{}", account.id)).await;
    account.epoch = now.body["epoch"].as_u64().unwrap();
}

async fn kill_each(members: [Member; 3], moments: &[(Operation, f64)]) {
    let mut fleet = Fleet::start(FleetSetup::default()).await;
    let (id, key) = create(&fleet, 0).await;
    let mut account = Account { id, key, epoch: 1 };
    for member in members {
        for &(operation, moment) in moments {
            kill_during(&mut fleet, operation, member, moment, &mut account).await;
        }
    }
}

#[tokio::test]
async fn killed_processes_lose_nothing_and_stop_nobody_for_long() {
    let members = [Member::Coordinator(0), Member::Router(0), Member::Party(0)];
    let moments = [
        (Operation::Keygen, 0.1),
        (Operation::Keygen, 0.9),
        (Operation::Sign, 0.2),
        (Operation::Sign, 0.7),
        (Operation::Refresh, 0.1),
        (Operation::Refresh, 0.9),
    ];
    kill_each(members, &moments).await;
}
