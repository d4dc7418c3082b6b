//! `quorate-soak`: lets every fault happen in every phase of every operation to every role, then signs, makes
//! accounts and refreshes them for `SOAK_SECONDS` (600 by default) while processes are killed at random, and ends
//! with one line of counts. `SOAK_SEED` repeats the moments of another run; `SOAK_PHASES` is into how many phases
//! operations are cut (4; 0 for none).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate_kit::random32;
use quorate_tests::embedded::{Caller, Reply, try_send};
use quorate_tests::fault_injection::{Case, FAULTS, Faults, OPERATIONS, assert_nothing_is_stuck, moment};
use quorate_tests::fleet::{Fleet, FleetSetup, Member};
use quorate_tests::random::Random;
use quorate_tests::single_process::memory_of;
use quorate_tests::verification::is_signed_by;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// Callers that each make one request after the other.
const CALLERS: usize = 4;

/// How long a supervisor takes to start a process again.
const RESTART_DELAY: Duration = Duration::from_millis(500);

/// How often a request that failed for now is made again, under its key.
const RETRIES: usize = 20;

/// When memory is looked at for the first time.
const WARM_UP_DURATION: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    kills: AtomicU64,
    retries: AtomicU64,
    errors: AtomicU64,
    wrong: AtomicU64,
}

fn one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

#[derive(Clone)]
struct Account {
    id: String,
    key: String,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(soak())
}

async fn soak() -> ExitCode {
    let seconds = number("SOAK_SECONDS").unwrap_or(600);
    let seed = number("SOAK_SEED").unwrap_or_else(|| u64::from_be_bytes(random32()[..8].try_into().unwrap()));
    println!("seed {seed}, {seconds} seconds");
    let [faults, in_time, results] = all_faults(number("SOAK_PHASES").unwrap_or(4), seed).await;
    println!(
        "{faults} faults, {in_time} of them in the middle of their operation: all was well after each, and {results} operations had results"
    );
    let mut fleet = Fleet::start(FleetSetup::default()).await;
    let counts = Arc::new(Counts::default());
    let accounts = Arc::new(Mutex::new(Vec::new()));
    let until = Instant::now() + Duration::from_secs(seconds);
    let working: Vec<_> = (0..CALLERS)
        .map(|index| {
            let callers = [fleet.caller(0), fleet.caller(1)];
            tokio::spawn(work(index, callers, Arc::clone(&accounts), Arc::clone(&counts), until))
        })
        .collect();
    let mut random = Random(seed);
    let members = fleet.members();
    let (began, mut warm) = (Instant::now(), None);
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(2_000 + random.below(3_000))).await;
        if warm.is_none() && began.elapsed() >= WARM_UP_DURATION.min(Duration::from_secs(seconds / 2)) {
            warm = Some(memory(&fleet));
        }
        let member = members[usize::try_from(random.below(members.len() as u64)).unwrap()];
        one(&counts.kills);
        fleet.kill(member);
        tokio::time::sleep(RESTART_DELAY).await;
        fleet.launch(member);
        fleet.await_health(member).await;
    }
    for worker in working {
        worker.await.unwrap();
    }
    // Nothing is lost: every account that a caller was told of signs.
    let accounts = accounts.lock().await.clone();
    for account in &accounts {
        sign(&[fleet.caller(0), fleet.caller(1)], account, &counts).await;
    }
    assert_nothing_is_stuck(&fleet).await;
    let (before, after) = (warm.unwrap_or_default(), memory(&fleet));
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "requests {}, accounts {}, kills {}, retries {}, typed errors {}, wrong results {}, memory {before:.0} MiB then {after:.0} MiB",
        read(&counts.requests),
        accounts.len(),
        read(&counts.kills),
        read(&counts.retries),
        read(&counts.errors),
        read(&counts.wrong),
    );
    if read(&counts.wrong) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every fault in every phase of every operation, for every role. Says how many there were, how many came in the
/// middle of their operation, and how many operations had a result; panics when not all is well.
async fn all_faults(phases: u64, seed: u64) -> [usize; 3] {
    let phases = u32::try_from(phases).unwrap_or(u32::MAX);
    let (mut random, mut count, mut in_time, mut results) = (Random(seed), 0, 0, 0);
    if phases == 0 {
        return [0; 3];
    }
    let mut faults = Faults::start().await;
    let roles: [fn(usize) -> Member; 5] =
        [Member::Account, Member::Coordinator, Member::Router, Member::Party, Member::PartyApi];
    for member in roles.map(|role| role(0)) {
        for operation in OPERATIONS {
            for phase in 0..phases {
                for fault in FAULTS {
                    let at = moment(phase, phases, &mut random);
                    let happened = faults.happen(Case { operation, member, at, fault }).await;
                    results += usize::from(happened.had_result);
                    in_time += usize::from(happened.in_time);
                    count += 1;
                }
            }
        }
        println!("{member:?}: well after {count} faults so far");
    }
    assert_nothing_is_stuck(faults.fleet()).await;
    [count, in_time, results]
}

/// Resident memory of all processes, in MiB.
fn memory(fleet: &Fleet) -> f64 {
    fleet.members().into_iter().map(|member: Member| memory_of(fleet.pid(member))).sum()
}

async fn work(
    index: usize,
    callers: [Caller; 2],
    accounts: Arc<Mutex<Vec<Account>>>,
    counts: Arc<Counts>,
    until: Instant,
) {
    let mut round = index as u64;
    while Instant::now() < until {
        round += 1;
        let known = accounts.lock().await.clone();
        if known.len() <= index || round.is_multiple_of(50) {
            let body = json!({ "user_id": format!("soak {index}") });
            if let Some(made) = call(&callers, "/api/v1/accounts", &body, &counts).await {
                let account = Account { id: made.text("id").into(), key: made.text("public_key").into() };
                accounts.lock().await.push(account);
            }
            continue;
        }
        let account = &known[usize::try_from(round % known.len() as u64).unwrap()];
        if round.is_multiple_of(70) {
            let path = format!("/api/v1/accounts/{}/refresh", account.id);
            if let Some(refreshed) = call(&callers, &path, &json!({}), &counts).await
                && refreshed.text("public_key") != account.key
            {
                wrong(&counts, "a refresh gave another key", &refreshed.body);
            }
            continue;
        }
        sign(&callers, account, &counts).await;
    }
}

async fn sign(callers: &[Caller; 2], account: &Account, counts: &Counts) {
    let digest = random32();
    let path = format!("/api/v1/accounts/{}/sign", account.id);
    let Some(signed) = call(callers, &path, &json!({ "message": hex::encode(digest) }), counts).await else {
        return wrong(counts, "no signature in the end", &json!(account.id));
    };
    if !is_signed_by(&signed, digest, &hex::decode(&account.key).unwrap_or_default()) {
        wrong(counts, "a signature does not verify", &signed.body);
    }
}

fn wrong(counts: &Counts, what: &str, about: &Value) {
    one(&counts.wrong);
    eprintln!("{what}: {about}");
}

/// Makes a request, again under the same key if it failed for now; `None` if it never worked.
async fn call(callers: &[Caller; 2], path: &str, body: &Value, counts: &Counts) -> Option<Reply> {
    let key = hex::encode(random32());
    for attempt in 0..=RETRIES {
        one(&counts.requests);
        if attempt > 0 {
            one(&counts.retries);
        }
        let request =
            callers[attempt % 2].request(Method::POST, path).header("idempotency-key", &key).json(body);
        // A process that was killed in the middle does not answer at all.
        if let Some(reply) = try_send(request).await {
            if reply.status < 300 {
                return Some(reply);
            }
            one(&counts.errors);
            let code = reply.body["code"].as_str().unwrap_or_default();
            let is_refresh = path.ends_with("refresh");
            match reply.status {
                503 | 504 => {}
                // A refresh that was interrupted may hold its account for a while: the caller leaves it at that.
                409 | 502 if is_refresh => return None,
                409 if code == "in_progress" => {}
                // Of a party that was killed in the middle.
                _ if code == "account_not_active" => return None,
                _ => wrong(counts, "an answer that nobody expects", &reply.body),
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    None
}
