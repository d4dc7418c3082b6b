//! Dependencies: licences, and banned, doubled or yanked crates. The lists are those of `deny.toml`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::{metadata, text};

/// What `cargo tree` prints for the workspace in this folder of the repository.
fn tree(folder: &str, arguments: &[&str]) -> String {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--prefix=none", "--manifest-path"])
        .arg(manifest)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The names and licences of all crates that are built, tests and build scripts included. `cargo metadata` also lists
/// what a feature might turn on.
fn built(folder: &str) -> Vec<(String, String)> {
    let lines = tree(folder, &["--workspace", "--all-features", "--format={p}|{l}"]);
    let crates = lines.lines().filter_map(|line| line.split_once('|'));
    let crates = crates.map(|(name, licence)| {
        (name.split(' ').next().unwrap().to_owned(), licence.trim_end_matches(" (*)").to_owned())
    });
    crates.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The crates of a build, each with the features that it is compiled with.
fn features(arguments: &[&str]) -> BTreeSet<String> {
    let lines = tree("", &[arguments, &["--format={p} [{f}]"]].concat());
    lines.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

/// The lists of `deny.toml`, which `make audit` checks with cargo-deny.
struct Rules {
    licences: BTreeSet<String>,
    /// Crates that must not be there.
    banned: BTreeSet<String>,
    /// Crates of which there must be one version only.
    single: BTreeSet<String>,
}

fn rules() -> Rules {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deny.toml");
    let rules: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    assert_eq!(rules["advisories"]["yanked"].as_str(), Some("deny"));
    let licences = rules["licenses"]["allow"].as_array().unwrap();
    let licences = licences.iter().map(|licence| licence.as_str().unwrap().to_owned()).collect();
    let (mut banned, mut single) = (BTreeSet::new(), BTreeSet::new());
    for ban in rules["bans"]["deny"].as_array().unwrap() {
        let is_single = ban.get("deny-multiple-versions").is_some();
        let list = if is_single { &mut single } else { &mut banned };
        list.insert(ban["crate"].as_str().unwrap().to_owned());
    }
    Rules { licences, banned, single }
}

/// Whether an SPDX expression can be met with these licences. Knows `AND`, `OR`, `/` and parentheses as far as our
/// dependencies use them.
fn is_acceptable(expression: &str, licences: &BTreeSet<String>) -> bool {
    let flat = expression.replace(['(', ')'], "").replace('/', " OR ");
    flat.split(" AND ").all(|part| part.split(" OR ").any(|licence| licences.contains(licence.trim())))
}

#[test]
fn dependencies_have_licences_that_we_can_ship_and_none_is_banned() {
    let rules = rules();
    assert!(rules.banned.contains("openssl") && rules.single.contains("wasmtime"), "the lists are not read");
    for folder in ["", "plugins"] {
        let metadata = metadata(folder);
        for package in metadata["packages"].as_array().unwrap() {
            let name = text(package, "name");
            assert!(!rules.banned.contains(name), "{name} is banned");
        }
        let built = built(folder);
        assert!(built.len() > 50, "only {} crates", built.len());
        for (name, licence) in built {
            assert!(is_acceptable(&licence, &rules.licences), "{name}: licence `{licence}`");
        }
    }
}

#[test]
fn one_version_of_what_must_not_be_doubled() {
    let metadata = metadata("");
    for single in rules().single {
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

/// `make demo` builds the program with `quorate-dev-features`, and `make test` builds the workspace. A feature that only
/// the tests turn on would have the dependency, and all that depends on it, compiled twice.
#[test]
fn the_demo_and_the_tests_compile_dependencies_with_the_same_features() {
    let demo = features(&["-p=quorate", "-p=quorate-dev-features", "--edges=normal"]);
    let tests = features(&["--workspace", "--edges=normal,dev"]);
    assert!(demo.len() > 200, "only {} crates were read", demo.len());
    let differing: Vec<&String> = demo.difference(&tests).collect();
    assert!(differing.is_empty(), "name their features in tests/features/Cargo.toml: {differing:#?}");
}

/// A later version of RabbitMQ's client may ask for one that our patch does not fit: cargo would only warn.
#[test]
fn the_stand_in_for_a_reader_of_pkcs12_files_is_the_only_one() {
    let metadata = metadata("");
    let packages = metadata["packages"].as_array().unwrap().iter();
    let sources: Vec<&Value> =
        packages.filter(|package| text(package, "name") == "p12-keystore").map(|p| &p["source"]).collect();
    assert_eq!(sources, [&Value::Null], "patches/p12-keystore is not used");
}
