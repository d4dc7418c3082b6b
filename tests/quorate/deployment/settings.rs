//! `.env.example`, `docker-compose.yml` and what the program reads: the same settings, with the same defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use quorate::config::Config;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

/// The settings of the example, with their values; those that are commented out, with nothing.
fn example() -> BTreeMap<String, Option<String>> {
    let text = read(".env.example");
    let setting = |line: &str| {
        let (line, is_set) = match line.strip_prefix("# ") {
            Some(commented) => (commented.to_owned(), false),
            None => (line.to_owned(), true),
        };
        let (name, value) = line.split_once('=')?;
        let is_name = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        is_name.then(|| (name.to_owned(), is_set.then(|| value.to_owned())))
    };
    text.lines().filter_map(setting).collect()
}

/// The variables that the compose file takes from the environment, with their defaults.
fn compose() -> BTreeMap<String, BTreeSet<Option<String>>> {
    let mut all: BTreeMap<String, BTreeSet<Option<String>>> = BTreeMap::new();
    for part in read("docker-compose.yml").split("${").skip(1) {
        let (inside, _) = part.split_once('}').unwrap();
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (inside.split(":?").next().unwrap(), None),
        };
        all.entry(name.to_owned()).or_default().insert(default);
    }
    all
}

#[test]
fn the_example_has_all_settings_and_their_defaults() {
    let (example, compose) = (example(), compose());
    let config = Config::read([]).unwrap();
    let names: BTreeSet<&str> = config.names().collect();
    for name in &names {
        // Every secret may be in a file; the example says so once.
        let is_file = name.strip_suffix("_FILE").is_some_and(|secret| names.contains(secret));
        assert!(is_file || example.contains_key(*name), "{name} is not in .env.example");
    }
    // The program makes this hash.
    for (name, defaults) in compose.iter().filter(|(name, _)| *name != "SECRETS_HASH") {
        let value = example.get(name).unwrap_or_else(|| panic!("{name} is not in .env.example"));
        // `quorate deployment files` makes these, as many as there are replicas.
        let Some(value) = value else {
            assert!(
                ["QUORATE_COORDINATORS", "QUORATE_ROUTERS"].contains(&name.as_str()),
                "{name} has no value"
            );
            continue;
        };
        assert_eq!(defaults.len(), 1, "{name} has several defaults: {defaults:?}");
        if let Some(Some(default)) = defaults.first()
            && name != "TRUSTED_PROXIES"
        {
            assert_eq!(value, default, "{name}: .env.example, docker-compose.yml");
        }
    }
    let (deploy, compose_file) = (read("deploy.sh"), read("docker-compose.yml"));
    for (name, value) in &example {
        let is_used =
            compose.contains_key(name) || deploy.contains(name.as_str()) || names.contains(name.as_str());
        assert!(is_used, "nobody reads {name}");
        if value.is_some() {
            // Containers get API keys as their hashes only.
            let is_file = ["", "_sha256"].into_iter().any(|form| {
                compose_file.contains(&format!("./secrets/shared/{}{form} }}", name.to_lowercase()))
            });
            assert!(
                compose.contains_key(name) || deploy.contains(name.as_str()) || is_file,
                "{name} does not get to the containers"
            );
        }
    }
}

/// The value of a setting that is not set. Comments stand behind several spaces.
fn default_of(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix("# ").unwrap_or(line).split_once('=')?;
    let value = value.split("  ").next().unwrap_or_default();
    let is_name = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    (is_name && !value.is_empty() && !value.starts_with("change-me")).then_some((name, value))
}

#[test]
fn the_program_has_the_defaults_of_the_example() {
    let read_with = |settings: Vec<(String, String)>| format!("{:?}", Config::read(settings).unwrap());
    let config = Config::read([]).unwrap();
    let names: BTreeSet<&str> = config.names().collect();
    let text = read(".env.example");
    let mut seen = 0;
    for (name, value) in text.lines().filter_map(default_of).filter(|(name, _)| names.contains(name)) {
        let is_default = read_with(vec![(name.into(), value.into())]) == read_with(vec![]);
        // With compose it is for keys that matter, its log is read by machines, and the component lies in the image.
        let differs =
            ["ENVIRONMENT", "QUORATE_LOG_FORMAT", "QUORATE_PLUGIN_FILES", "TRUSTED_PROXIES"].contains(&name);
        assert_eq!(is_default, !differs, "{name}={value}: .env.example, the program");
        seen += 1;
    }
    assert!(seen > 15, "only {seen} settings were compared");
}

#[test]
fn what_the_compose_file_gives_to_containers_is_a_setting() {
    let config = Config::read([]).unwrap();
    let names: BTreeSet<&str> = config.names().collect();
    let text = read("docker-compose.yml");
    let (_, body) = text.split_once("x-settings").unwrap();
    let ours = |line: &&str| line.starts_with(' ') && !line.trim_start().starts_with('#');
    for line in body.lines().filter(ours) {
        let Some((name, _)) = line.trim().split_once(": ") else { continue };
        let is_setting =
            name.len() > 3 && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        // What the images of the services read.
        if is_setting && !["POSTGRES_INITDB_ARGS", "RABBITMQ_LOG_BASE"].contains(&name) {
            assert!(names.contains(name), "docker-compose.yml sets {name}, which nobody reads");
        }
    }
}
