//! Accounts and signatures over HTTP, against a server process with three parties; the callers share its processors.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use quorate_kit::random32;
use quorate_tests::embedded::Caller;
use quorate_tests::single_process::Server;
use serde_json::{Value, json};

use crate::block_on;
use crate::sandbox::native_program;
use crate::stats::{median, percentile, round};

/// Callers, signatures of each, accounts of each.
const LOADS: [(usize, usize, usize); 3] = [(1, 200, 7), (4, 150, 2), (16, 60, 1)];

const LARGEST: u16 = 16;

pub(crate) fn measure() -> Value {
    let native = native_sign_ms();
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let (server, account) = signing_server(folder.path()).await;
        let (mut signs, mut keygens) = (serde_json::Map::new(), serde_json::Map::new());
        for (callers, each, accounts) in LOADS {
            let before = server.cpu_time();
            let began = Instant::now();
            let times = many(&server.caller, callers, each, |caller| sign(caller, account.clone())).await;
            let seconds = began.elapsed().as_secs_f64();
            // What lingers belongs to these signatures too.
            tokio::time::sleep(std::time::Duration::from_secs(6)).await;
            let after = server.cpu_time();
            let count = times.len() as f64;
            let inside = (after.inside - before.inside) * 1e3 / count;
            let outside = (after.outside - before.outside) * 1e3 / count;
            let mut row = percentiles(&times);
            row["per_second"] = round(count / seconds).into();
            row["p50_over_native"] = round(median(&times) / native).into();
            row["cpu_inside_ms"] = round(inside).into();
            row["cpu_outside_ms"] = round(outside).into();
            row["outside_over_inside"] = round(outside / inside).into();
            signs.insert(format!("{callers} callers"), row);
            let times = many(&server.caller, callers, accounts, |caller| async move {
                caller.create().await;
            });
            keygens.insert(format!("{callers} callers"), percentiles(&times.await));
        }
        drop(server);
        json!({
            "what": "2-of-3 over HTTP; the callers' own work is on the same processors; milliseconds",
            "native_sign_ms": round(native),
            "keygen_with_16_parties_seconds": round(large_keygen().await),
            "sign": signs,
            "keygen": keygens,
        })
    })
}

/// A server with three parties that has signed some times, and the account that it has signed with.
pub(crate) async fn signing_server(folder: &Path) -> (Server, String) {
    let server = Server::start(folder, 3);
    server.first_answer().await;
    let account = server.caller.create().await;
    many(&server.caller, 1, 20, |caller| sign(caller, account.clone())).await;
    (server, account)
}

pub(crate) fn percentiles(times: &[f64]) -> Value {
    let at = |q| round(percentile(times, q));
    json!({ "p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "runs": times.len() })
}

pub(crate) async fn sign(caller: Caller, account: String) {
    let signed = caller.sign(&account, random32()).await;
    assert_eq!(signed.status, 200, "{}", signed.body);
}

/// The milliseconds of each of `each` calls by each of `callers` callers at a time.
pub(crate) async fn many<F, W>(caller: &Caller, callers: usize, each: usize, work: F) -> Vec<f64>
where
    F: Fn(Caller) -> W,
    W: Future<Output = ()>,
{
    let one = || async {
        let mut times = Vec::with_capacity(each);
        for _ in 0..each {
            let began = Instant::now();
            work(caller.clone()).await;
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
        times
    };
    futures::future::join_all((0..callers).map(|_| one())).await.concat()
}

/// One native signature, both parties in sequence on one thread that does nothing else, in milliseconds.
fn native_sign_ms() -> f64 {
    let output = Command::new(native_program("dkls23")).args(["1", "100", "0"]).output().unwrap();
    assert!(output.status.success());
    let times: Value = serde_json::from_slice(&output.stdout).unwrap();
    let times: Vec<f64> = times["sign"].as_array().unwrap().iter().map(|t| t.as_f64().unwrap()).collect();
    median(&times)
}

async fn large_keygen() -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), LARGEST);
    server.first_answer().await;
    let body = json!({ "user_id": "large", "threshold": { "t": 9, "n": LARGEST } });
    let began = Instant::now();
    let created = server.caller.post("/api/v1/accounts", &body).await;
    assert_eq!(created.status, 201, "{}", created.body);
    began.elapsed().as_secs_f64()
}
