//! Which crate may depend on which.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{metadata, text};

/// The dependency of every crate's tests: features of shared dependencies, and nothing else.
const DEV: &str = "quorate-dev-features";

/// The crates that the account service and the coordinator may use.
const CONTROL: [&str; 6] = [
    "quorate-backends",
    "quorate-control-store",
    "quorate-core",
    "quorate-net",
    "quorate-proto",
    "quorate-verify",
];

/// Which crates of ours each of our crates may use, tests included.
const ALLOWED: [(&str, &[&str]); 18] = [
    ("quorate-generated", &[]),
    ("p12-keystore", &[]),
    ("quorate-core", &[]),
    ("quorate-proto", &["quorate-core"]),
    ("quorate-backends", &["quorate-core", DEV]),
    ("quorate-party-store", &["quorate-backends", "quorate-core", DEV]),
    ("quorate-control-store", &["quorate-backends", "quorate-core", DEV]),
    ("quorate-verify", &["quorate-core"]),
    ("quorate-runtime", &["quorate-core"]),
    ("quorate-kit", &["quorate-core", "quorate-runtime"]),
    ("quorate-net", &["quorate-backends", "quorate-core", "quorate-proto", DEV]),
    ("quorate-account", &CONTROL),
    ("quorate-coordinator", &CONTROL),
    ("quorate-router", &["quorate-backends", "quorate-core", "quorate-net", "quorate-proto"]),
    (
        "quorate-party",
        &[
            "quorate-backends",
            "quorate-core",
            "quorate-net",
            "quorate-party-store",
            "quorate-proto",
            "quorate-runtime",
            "quorate-verify",
            DEV,
        ],
    ),
    (
        "quorate",
        &[
            "quorate-account",
            "quorate-backends",
            "quorate-control-store",
            "quorate-coordinator",
            "quorate-core",
            "quorate-net",
            "quorate-party",
            "quorate-party-store",
            "quorate-proto",
            "quorate-router",
            "quorate-runtime",
        ],
    ),
    (DEV, &["quorate-backends"]),
    (
        "quorate-tests",
        &[
            "quorate",
            "quorate-kit",
            "quorate-account",
            "quorate-backends",
            "quorate-control-store",
            "quorate-coordinator",
            "quorate-core",
            "quorate-net",
            "quorate-party",
            "quorate-party-store",
            "quorate-proto",
            "quorate-router",
            "quorate-runtime",
            "quorate-verify",
            DEV,
        ],
    ),
];

const ALLOWED_IN_PLUGINS: [(&str, &[&str]); 15] = [
    ("getrandom", &[]),
    ("quorate-sha256", &[]),
    ("sha2", &["quorate-sha256"]),
    ("quorate-plugin-sdk", &["getrandom", "quorate-sha256"]),
    ("quorate-plugin-testkit", &["getrandom", "quorate-plugin-sdk"]),
    ("quorate-dkls23", &["getrandom", "quorate-plugin-sdk", "quorate-plugin-testkit"]),
    ("quorate-frost", &["quorate-plugin-sdk", "quorate-plugin-testkit"]),
    ("quorate-frost-ed25519", &["quorate-frost", "quorate-plugin-sdk"]),
    ("quorate-frost-secp256k1-tr", &["quorate-frost", "quorate-plugin-sdk"]),
    ("quorate-cggmp24", &["quorate-plugin-sdk", "quorate-plugin-testkit"]),
    ("quorate-dkls23-next", &["getrandom", "quorate-plugin-sdk"]),
    ("quorate-faulty", &["quorate-plugin-sdk"]),
    ("quorate-imposter", &["quorate-plugin-sdk"]),
    ("quorate-talkative", &["quorate-plugin-sdk"]),
    ("quorate-pack", &[]),
];

/// From these crates none of the others can be reached, in the whole closure of their dependencies.
const WALLS: [(&str, &[&str]); 6] = [
    ("quorate-account", &["quorate-coordinator", "quorate-router"]),
    ("quorate-coordinator", &["quorate-account", "quorate-router"]),
    ("quorate-router", &["quorate-account", "quorate-coordinator"]),
    ("quorate-party", &["quorate-account", "quorate-coordinator", "quorate-router", "quorate-control-store"]),
    ("quorate-runtime", &["tonic", "axum", "sqlx", "redis", "lapin"]),
    ("quorate-verify", &["wasmtime", "quorate-runtime", "sqlx", "tokio"]),
];

/// Crates that hold or use a key share.
const SHARES: [&str; 4] = ["quorate-party", "quorate-party-store", "quorate-runtime", "wasmtime"];

fn assert_direction(folder: &str, allowed: &[(&str, &[&str])]) {
    let metadata = metadata(folder);
    let ours: Vec<&Value> =
        metadata["packages"].as_array().unwrap().iter().filter(|p| p["source"].is_null()).collect();
    let names: BTreeSet<&str> = ours.iter().map(|p| text(p, "name")).collect();
    let allowed: BTreeMap<&str, &[&str]> = allowed.iter().copied().collect();
    assert_eq!(names, allowed.keys().copied().collect(), "a crate without a line in this test");
    for package in ours {
        let name = text(package, "name");
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = text(dependency, "name");
            let is_ours = dependency["source"].is_null() && names.contains(used);
            assert!(!is_ours || allowed[name].contains(&used), "{name} must not depend on {used}");
            assert!(
                used != DEV || text(dependency, "kind") == "dev" || name == "quorate-tests",
                "{name} ships {DEV}"
            );
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    assert_direction("", &ALLOWED);
    assert_direction("plugins", &ALLOWED_IN_PLUGINS);
}

/// The names of all crates that a crate of ours is built from, without tests and build scripts.
fn closure(metadata: &Value, name: &str) -> BTreeSet<String> {
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeMap<&str, &str> = packages.iter().map(|p| (text(p, "id"), text(p, "name"))).collect();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let nodes: BTreeMap<&str, &Value> = nodes.iter().map(|node| (text(node, "id"), node)).collect();
    let root = packages.iter().find(|p| text(p, "name") == name && p["source"].is_null());
    let mut open = vec![text(root.unwrap_or_else(|| panic!("there is no crate {name}")), "id")];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        for dependency in nodes[id]["deps"].as_array().unwrap() {
            let is_normal = |kind: &Value| kind["kind"].is_null();
            if dependency["dep_kinds"].as_array().unwrap().iter().any(is_normal) {
                open.push(text(dependency, "pkg"));
            }
        }
    }
    seen.into_iter().map(|id| names[id].to_owned()).collect()
}

#[test]
fn account_coordinator_and_router_reach_neither_a_share_nor_the_sandbox() {
    let metadata = metadata("");
    for role in
        ["quorate-account", "quorate-coordinator", "quorate-router", "quorate-net", "quorate-control-store"]
    {
        let reached = closure(&metadata, role);
        assert!(reached.contains("quorate-core") && reached.len() > 20, "{role}: {reached:?}");
        for share in SHARES {
            assert!(!reached.contains(share), "{role} can reach {share}");
        }
    }
    assert!(
        SHARES.iter().all(|share| closure(&metadata, "quorate-party").contains(*share)),
        "the test can't see"
    );
}

#[test]
fn roles_do_not_reach_each_other() {
    let metadata = metadata("");
    for (name, walls) in WALLS {
        let reached = closure(&metadata, name);
        for wall in walls {
            assert!(!reached.contains(*wall), "{name} can reach {wall}");
        }
    }
}

#[test]
fn core_knows_no_io_and_only_the_runtime_knows_wasmtime() {
    let metadata = metadata("");
    for package in metadata["packages"].as_array().unwrap().iter().filter(|p| p["source"].is_null()) {
        let name = text(package, "name");
        let uses: Vec<&str> =
            package["dependencies"].as_array().unwrap().iter().map(|d| text(d, "name")).collect();
        if name == "quorate-core" {
            let io = ["tokio", "sqlx", "wasmtime", "getrandom", "rand", "chrono", "reqwest", "tonic", "axum"];
            assert!(!uses.iter().any(|u| io.contains(u)), "{name} uses {uses:?}");
        }
        if name != "quorate-runtime" {
            assert!(!uses.contains(&"wasmtime"), "{name} names wasmtime");
        }
    }
}
