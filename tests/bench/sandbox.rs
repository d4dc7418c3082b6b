//! Plugins in the sandbox against the same plugins built natively: all parties one after the other, on one thread.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use quorate_kit::Parties;
use quorate_kit::message;
use quorate_runtime::{Grants, Plugin, Runtime, RuntimeConfig, SignTask, Task};
use quorate_tests::components;
use serde_json::{Value, json};

use crate::stats::{median, round};

const SIGNS: usize = 200;

/// A plugin, its scheme, and how many keygens and refreshes are measured.
const PLUGINS: [(&str, &str, usize); 3] = [
    ("dkls23", "ecdsa-secp256k1", 7),
    ("frost-ed25519", "ed25519", 50),
    ("frost-secp256k1-tr", "bip340", 50),
];

pub(crate) fn measure() -> Value {
    let mut figures = json!({
        "what": "2-of-3, parties in sequence on one thread, medians; sign with 2 parties, keygen and refresh with 3",
    });
    let mut runs = serde_json::Map::new();
    for (name, scheme, keys) in PLUGINS {
        figures[name] = operations(name, scheme, keys);
        runs.insert(name.into(), json!({ "keygen": keys, "sign": SIGNS, "refresh": keys }));
    }
    figures["runs"] = runs.into();
    figures
}

fn operations(name: &str, scheme: &str, keys: usize) -> Value {
    let native = native(name, keys);
    let sandboxed = sandboxed(name, scheme, keys);
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
    parts.into()
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// The program that runs a plugin natively.
pub(crate) fn native_program(name: &str) -> PathBuf {
    let folder = std::env::var_os("NATIVE").expect("NATIVE: run `make bench`");
    PathBuf::from(folder).join(format!("native-{name}"))
}

fn native(name: &str, keys: usize) -> Value {
    let counts = [keys, SIGNS, keys].map(|n| n.to_string());
    let output = Command::new(native_program(name)).args(counts).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn sandboxed(name: &str, scheme: &str, keys: usize) -> Value {
    let config = RuntimeConfig { interactive_threads: 1, ..RuntimeConfig::default() };
    let runtime = Runtime::new(config).unwrap();
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    executor.block_on(async {
        let plugin = runtime.load(&components::bytes(name), &Grants::default()).await.unwrap();
        let mut parties = Parties::new(2, 3);
        parties.one_at_a_time = true;
        let sign = Task::Sign(SignTask::new(scheme, &message(vec![7; 32]).into()));
        let keygen = Task::Keygen { scheme: scheme.into() };
        json!({
            "keygen": times(&mut parties, &plugin, &[1, 2, 3], &keygen, keys).await,
            "sign": times(&mut parties, &plugin, &[1, 2], &sign, SIGNS).await,
            "refresh": times(&mut parties, &plugin, &[1, 2, 3], &Task::Refresh, keys).await,
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
