//! DKLs23 in the sandbox against the same plugin built natively: all parties one after the other, on one thread.

use std::process::Command;
use std::time::Instant;

use quorate_kit::Parties;
use quorate_kit::message;
use quorate_runtime::{Grants, Plugin, Runtime, RuntimeConfig, SignTask, Task};
use quorate_tests::components;
use serde_json::{Value, json};

use crate::stats::{median, round};

const KEYGENS: usize = 7;
const SIGNS: usize = 200;
const REFRESHES: usize = 7;

pub(crate) fn measure() -> Value {
    let native = native();
    let sandboxed = sandboxed();
    let mut parts = serde_json::Map::new();
    for operation in ["keygen", "sign", "refresh"] {
        let ms = |all: &Value| median(&numbers(&all[operation]));
        let (inside, outside) = (ms(&sandboxed), ms(&native));
        parts.insert(
            operation.into(),
            json!({
                "sandbox_ms": round(inside),
                "native_ms": round(outside),
                "sandbox_over_native": round(inside / outside),
            }),
        );
    }
    json!({
        "what": "DKLs23 2-of-3, parties in sequence on one thread, medians; sign with 2 parties, keygen and refresh with 3",
        "runs": { "keygen": KEYGENS, "sign": SIGNS, "refresh": REFRESHES },
        "operations": parts,
    })
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn native() -> Value {
    let program = std::env::var_os("NATIVE").expect("NATIVE: run `make bench`");
    let counts = [KEYGENS, SIGNS, REFRESHES].map(|n| n.to_string());
    let output = Command::new(program).args(counts).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn sandboxed() -> Value {
    let config = RuntimeConfig { interactive_threads: 1, ..RuntimeConfig::default() };
    let runtime = Runtime::new(config).unwrap();
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    executor.block_on(async {
        let plugin = runtime.load(&components::bytes("dkls23"), &Grants::default()).await.unwrap();
        let mut parties = Parties::new(2, 3);
        parties.one_at_a_time = true;
        let sign = Task::Sign(SignTask::new("ecdsa-secp256k1", &message(vec![7; 32]).into()));
        let keygen = Task::Keygen { scheme: "ecdsa-secp256k1".into() };
        json!({
            "keygen": times(&mut parties, &plugin, &[1, 2, 3], &keygen, KEYGENS).await,
            "sign": times(&mut parties, &plugin, &[1, 2], &sign, SIGNS).await,
            "refresh": times(&mut parties, &plugin, &[1, 2, 3], &Task::Refresh, REFRESHES).await,
        })
    })
}

async fn times(
    parties: &mut Parties,
    plugin: &Plugin,
    signers: &[u16],
    task: &Task,
    count: usize,
) -> Vec<f64> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        parties.run(plugin, signers, task).await;
        all.push(start.elapsed().as_secs_f64() * 1e3);
    }
    all
}
