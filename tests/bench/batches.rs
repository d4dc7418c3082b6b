//! Sixteen signatures over HTTP in one request, against sixteen requests one after the other.

use std::time::{Duration, Instant};

use quorate_kit::random32;
use quorate_tests::embedded::Caller;
use quorate_tests::single_process::Server;
use serde_json::{Value, json};

use crate::block_on;
use crate::end_to_end::{sign, signing_server};
use crate::stats::{median, round};

const ITEMS: usize = 16;

/// Batches, and as many times sixteen single signatures.
const RUNS: usize = 12;

/// Longer than anything lingers after a session.
const LINGER: Duration = Duration::from_secs(6);

/// What the signing of sixteen items took.
struct Cost {
    milliseconds: Vec<f64>,
    cpu_outside_ms: f64,
}

pub(crate) fn measure() -> Value {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let (server, account) = signing_server(folder.path()).await;
        let sign_singly = async |caller: &Caller| {
            for _ in 0..ITEMS {
                sign(caller.clone(), account.clone()).await;
            }
        };
        let singles = cost(&server, sign_singly).await;
        let batches = cost(&server, async |caller| sign_batch(caller, &account).await).await;
        let (single_ms, batch_ms) = (median(&singles.milliseconds), median(&batches.milliseconds));
        json!({
            "what": "2-of-3 over HTTP, one caller; milliseconds for 16 signatures",
            "runs": RUNS,
            "one_after_the_other_ms": round(single_ms),
            "one_batch_ms": round(batch_ms),
            "batch_over_singles": round(batch_ms / single_ms),
            "cpu_outside_of_singles_ms": round(singles.cpu_outside_ms),
            "cpu_outside_of_a_batch_ms": round(batches.cpu_outside_ms),
            "cpu_outside_batch_over_singles": round(batches.cpu_outside_ms / singles.cpu_outside_ms),
        })
    })
}

async fn cost(server: &Server, work: impl AsyncFn(&Caller)) -> Cost {
    let before = server.cpu_time().outside;
    let mut milliseconds = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let began = Instant::now();
        work(&server.caller).await;
        milliseconds.push(began.elapsed().as_secs_f64() * 1e3);
    }
    // What lingers belongs to these signatures too.
    tokio::time::sleep(LINGER).await;
    let cpu_outside_ms = (server.cpu_time().outside - before) * 1e3 / RUNS as f64;
    Cost { milliseconds, cpu_outside_ms }
}

async fn sign_batch(caller: &Caller, account: &str) {
    let items: Vec<_> = (0..ITEMS).map(|_| json!({ "message": hex::encode(random32()) })).collect();
    let path = format!("/api/v1/accounts/{account}/sign");
    let signed = caller.post(&path, &json!({ "items": items })).await;
    assert_eq!(signed.status, 200, "{}", signed.body);
}
