//! Signatures of FROST over HTTP, with presignatures that are made meanwhile, and without.

use std::path::Path;
use std::time::{Duration, Instant};

use quorate_kit::random32;
use quorate_tests::components;
use quorate_tests::embedded::Caller;
use quorate_tests::single_process::{Server, command, free_address};
use serde_json::{Map, Value, json};

use crate::block_on;
use crate::end_to_end::{many, percentiles};
use crate::stats::round;

/// The scheme and its component.
const SCHEMES: [(&str, &str); 2] = [("ed25519", "frost-ed25519"), ("bip340", "frost-secp256k1-tr")];

/// Callers, and signatures of each.
const LOADS: [(usize, usize); 2] = [(1, 300), (16, 100)];

/// How long the first presignatures may take.
const WARM_UP: Duration = Duration::from_secs(3);

pub(crate) fn measure() -> Value {
    block_on(async {
        let mut rows = Map::new();
        for (scheme, component) in SCHEMES {
            for (high, name) in [("128", "presignatures"), ("0", "two rounds")] {
                let folder = tempfile::tempdir().unwrap();
                let (server, path) = signing_server(folder.path(), scheme, component, high).await;
                for (callers, each) in LOADS {
                    let before = server.cpu_time();
                    let began = Instant::now();
                    let times =
                        many(&server.caller, callers, each, |caller| sign(caller, path.clone())).await;
                    let seconds = began.elapsed().as_secs_f64();
                    tokio::time::sleep(WARM_UP).await;
                    let after = server.cpu_time();
                    let count = times.len() as f64;
                    let mut row = percentiles(&times);
                    row["per_second"] = round(count / seconds).into();
                    row["cpu_inside_ms"] = round((after.inside - before.inside) * 1e3 / count).into();
                    row["cpu_outside_ms"] = round((after.outside - before.outside) * 1e3 / count).into();
                    rows.insert(format!("{scheme}, {name}, {callers} callers"), row);
                }
            }
        }
        json!({
            "what": "2-of-3 over HTTP; the callers' own work is on the same processors; presignatures are made meanwhile; milliseconds",
            "sign": rows,
        })
    })
}

/// A server with an account that has signed, and where that signs.
async fn signing_server(folder: &Path, scheme: &str, component: &str, high: &str) -> (Server, String) {
    let plugin = components::folder().join(format!("{component}.wasm"));
    let address = free_address();
    let mut command = command(folder, 3, address);
    command.env("QUORATE_PRESIGNATURES_HIGH", high).arg("--plugin").arg(plugin);
    let server = Server::of(command, address);
    server.first_answer().await;
    let body = json!({ "user_id": "user123", "scheme": scheme });
    let account = server.caller.post("/api/v1/accounts", &body).await.good();
    let path = format!("/api/v1/accounts/{}/sign", account.text("id"));
    for _ in 0..20 {
        sign(server.caller.clone(), path.clone()).await;
    }
    tokio::time::sleep(WARM_UP).await;
    (server, path)
}

async fn sign(caller: Caller, path: String) {
    let signed = caller.post(&path, &json!({ "message": hex::encode(random32()) })).await;
    assert_eq!(signed.status, 200, "{}", signed.body);
}
