//! What we depend on: licences, and forbidden, doubled or yanked crates.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::{metadata, text};

/// The names and licences of all crates that are built, tests and build scripts included. `cargo metadata` also lists
/// what a feature might turn on.
fn built(folder: &str) -> Vec<(String, String)> {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--workspace", "--all-features", "--prefix=none"])
        .args(["--format={p}|{l}", "--manifest-path"])
        .arg(manifest)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let crates = lines.lines().filter_map(|line| line.split_once('|'));
    let crates = crates.map(|(name, licence)| {
        (name.split(' ').next().unwrap().to_owned(), licence.trim_end_matches(" (*)").to_owned())
    });
    crates.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Crates with published attacks, or that we have decided against.
const FORBIDDEN: [&str; 8] = [
    "cggmp21",
    "tss-lib",
    "multi-party-ecdsa",
    "openssl",
    "native-tls",
    "wasmtime-wasi",
    "rug",
    "serde_yaml",
];

const LICENCES: [&str; 13] = [
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "CC0-1.0",
    "0BSD",
    "BSL-1.0",
    "Unlicense",
    "Unicode-3.0",
    "Apache-2.0 WITH LLVM-exception",
    // MIT with "no false attribution"; only in tests, through rust-bitcoin.
    "MITNFA",
];

/// Whether an SPDX expression can be met with the licences above. Knows `AND`, `OR`, `/` and parentheses as far as
/// our dependencies use them.
fn acceptable(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], "").replace('/', " OR ");
    flat.split(" AND ").all(|part| part.split(" OR ").any(|l| LICENCES.contains(&l.trim())))
}

#[test]
fn dependencies_have_licences_that_we_can_ship_and_none_is_forbidden() {
    for folder in ["", "plugins"] {
        let metadata = metadata(folder);
        for package in metadata["packages"].as_array().unwrap() {
            let name = text(package, "name");
            assert!(!FORBIDDEN.contains(&name), "{name} is forbidden");
        }
        let built = built(folder);
        assert!(built.len() > 50, "only {} crates", built.len());
        for (name, licence) in built {
            assert!(acceptable(&licence), "{name}: licence `{licence}`");
        }
    }
}

#[test]
fn one_version_of_what_must_not_be_doubled() {
    let metadata = metadata("");
    for single in ["wasmtime", "tokio", "serde", "zeroize", "tracing"] {
        let versions: BTreeSet<&str> = metadata["packages"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|p| text(p, "name") == single)
            .map(|p| text(p, "version"))
            .collect();
        assert!(versions.len() <= 1, "{single} comes in {versions:?}");
    }
}

/// The entry of a crate in cargo's copy of the registry's index: one line of JSON for each version. `None` if cargo has
/// no copy of it.
fn index_lines(name: &str) -> Option<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let folder = match name.len() {
        1 => "1".to_owned(),
        2 => "2".to_owned(),
        3 => format!("3/{}", &name[..1]),
        _ => format!("{}/{}", &name[..2], &name[2..4]),
    };
    let registries = std::fs::read_dir(home.join("registry/index")).ok()?;
    let mut copies = registries.filter_map(|registry| {
        let path = registry.ok()?.path().join(".cache").join(&folder).join(name.to_lowercase());
        std::fs::read(path).ok()
    });
    copies.next().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn no_dependency_is_yanked_as_far_as_the_copy_of_the_index_knows() {
    let mut known = 0;
    for folder in ["", "plugins"] {
        let metadata = metadata(folder);
        let packages = metadata["packages"].as_array().unwrap();
        for package in packages.iter().filter(|p| !p["source"].is_null()) {
            let (name, version) = (text(package, "name"), text(package, "version"));
            let Some(lines) = index_lines(name) else { continue };
            // The copy is a list of versions and lines with zero bytes between.
            let entry = lines.split('\0').filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let Some(entry) = entry.into_iter().find(|entry| text(entry, "vers") == version) else {
                continue;
            };
            known += 1;
            assert_eq!(entry["yanked"], Value::Bool(false), "{name} {version} was yanked");
        }
    }
    assert!(known > 100, "cargo's copy of the index knows only {known} of our dependencies");
}
