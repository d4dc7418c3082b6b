//! Whether the settings of `.env` are known, well formed, and accepted by the program.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;

use quorate_net::join_token::JoinKey;
use quorate_net::web::guard::ApiKeyHashes;

use super::super::engine_facts::Engine;
use super::super::finding::Finding;
use super::super::layout::{OPTIONAL_PORTS, PARTIES, PORTS};
use super::super::settings::{
    DeploymentSettings, PASSWORD_REMEDY, not_as_written, password_settings, public_key,
};
use super::program::{ComponentFiles, program_settings};
use crate::config::{ApiKeyKind, ConfigError, is_example};

/// Keys that have a place of their own: a deployment has several of each.
const KEYS_IN_FILES: [&str; 4] =
    ["CRYPTO_MASTER_KEY", "QUORATE_IDENTITY_KEY", "QUORATE_ORIGINATOR_KEY", "QUORATE_ACCOUNT_ROW_KEYS"];

/// Numbers besides ports, and their ranges.
const NUMBER_RANGES: [(&str, RangeInclusive<u32>); 4] = [
    // A party's container has 1 GiB.
    ("QUORATE_SANDBOX_MEMORY_MB", 16..=768),
    // Compose needs the time to stop containers that it makes anew.
    ("UP_SECONDS", 20..=3_600),
    ("QUORATE_UID", 1..=2_147_483_647),
    ("QUORATE_GID", 0..=2_147_483_647),
];

/// The shortest password in characters.
pub(super) const MIN_PASSWORD_CHARACTERS: usize = 16;

/// A name that nothing reads may be misspelt, and a misspelt `ALLOWED_IPS` lets every caller in.
pub(super) fn check_names(settings: &DeploymentSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in settings.names() {
        let what = || format!("{name} in .env is not a setting of this deployment");
        if KEYS_IN_FILES.contains(&name) {
            let remedy = "keys lie in secrets/, one folder for each party (docs/deploy.md, Containers and files): remove it";
            findings.push(Finding::refused(what(), remedy));
        } else if let Some(kind) = ApiKeyKind::ALL.into_iter().find(|kind| kind.hashes_setting() == name) {
            let remedy =
                format!("set {} instead: the hashes are made from it at every start", kind.setting());
            findings.push(Finding::refused(what(), remedy));
        } else if !settings.is_known(name) {
            let remedy = "check its spelling (.env.example has all settings), or remove it";
            findings.push(Finding::refused(what(), remedy));
        }
    }
    findings
}

/// Settings that `deploy.sh` takes from the shell although no line of `.env` names them.
const SHELL_SETTINGS: [&str; 3] = ["REPLICAS", "UP_SECONDS", "COMPOSE_PROJECT_NAME"];

/// Variables of the shell go before those of `.env`, even empty ones: an exported `ALLOWED_IPS` would let every
/// caller in.
pub(super) fn check_shell(settings: &DeploymentSettings, engine: &Engine) -> Vec<Finding> {
    let mut findings = Vec::new();
    let names = settings.names().chain(settings.compose_names()).chain(SHELL_SETTINGS);
    let names: BTreeSet<&str> = names.collect();
    for name in names {
        if engine.shell.get(name).is_some_and(|value| value.as_str() != settings.text(name)) {
            let what = format!("{name} is set in this shell to something else than in .env");
            let remedy = "unset it, or change .env: compose takes variables of the shell first";
            findings.push(Finding::refused(what, remedy));
        }
    }
    findings
}

/// Passwords of `.env`, as every service takes them.
pub(super) fn check_passwords(settings: &DeploymentSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let key_settings = ApiKeyKind::ALL.map(ApiKeyKind::setting);
    for name in password_settings().filter(|name| !key_settings.contains(name)) {
        let shortest = match name {
            "JWT_SECRET_KEY" => JoinKey::MIN_SECRET_BYTES,
            _ => MIN_PASSWORD_CHARACTERS,
        };
        let described = format!("{name} in .env");
        findings.extend(wrong_password(&described, settings.text(name), shortest, settings.is_production()));
    }
    findings.extend(check_api_keys(settings));
    findings.extend(check_distinct_values(settings));
    findings
}

/// API keys, of which each setting has a list.
fn check_api_keys(settings: &DeploymentSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for kind in ApiKeyKind::ALL {
        let described = format!("{} in .env", kind.setting());
        let wrong = |key: &str| match key {
            "" if settings.get(kind.setting()).is_some() => {
                Some(Finding::refused(format!("{described} has an empty entry"), "remove a comma"))
            }
            _ => wrong_password(&described, key, ApiKeyHashes::MIN_KEY_BYTES, settings.is_production()),
        };
        let wrong = settings.api_keys(kind).find_map(wrong);
        findings.extend(wrong.or_else(|| settings.key_hashes(kind).err()));
    }
    findings
}

/// Passwords and API keys are different from each other: the holder of one can't do what the other is for.
fn check_distinct_values(settings: &DeploymentSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let values = password_settings().flat_map(|name| {
        let values = settings.text(name).split(',').filter(|value| !value.is_empty());
        values.map(move |value| (value, name))
    });
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (value, name) in values {
        if let Some(other) = seen.insert(value, name) {
            let what = match other == name {
                true => format!("{name} in .env has one value twice"),
                false => format!("{name} and {other} in .env have the same value"),
            };
            findings.push(Finding::refused(
                what,
                "give each a value of its own; `openssl rand -hex 32` makes one",
            ));
        }
    }
    findings
}

/// Returns the finding about a password, if there is one. `described` says where it stands.
pub(super) fn wrong_password(
    described: &str,
    password: &str,
    shortest: usize,
    is_production: bool,
) -> Option<Finding> {
    let refused = |what: &str, remedy: &str| Some(Finding::refused(format!("{described} {what}"), remedy));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'~' | b'-');
    if password.is_empty() {
        return refused("is not set", PASSWORD_REMEDY);
    }
    if password.len() < shortest {
        return refused("is too short", &format!("give it {shortest} characters or more"));
    }
    if !password.bytes().all(is_plain) {
        let what = "has other characters than letters, digits, '_', '.', '~' and '-'";
        return refused(what, "take them out: no quotes, no spaces");
    }
    if is_production && is_example(password) {
        return refused("is the example's", PASSWORD_REMEDY);
    }
    None
}

/// Public keys that `init` has written, as many as there are parties.
pub(super) fn check_public_keys(settings: &DeploymentSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let numbered = PARTIES.iter().filter(|party| !party.is_users_party).count();
    for (name, count) in [
        ("QUORATE_ORIGINATORS", None),
        ("QUORATE_PARTY_KEYS", Some(numbered)),
        ("QUORATE_USER_PARTY_KEY", Some(PARTIES.len() - numbered)),
    ] {
        let keys: Vec<&str> = settings.text(name).split(',').collect();
        let fits = count.is_none_or(|count| count == keys.len());
        if !fits || keys.iter().any(|key| public_key(key).is_none()) {
            findings.push(not_as_written(name));
        }
    }
    findings
}

/// Sizes, ports and names.
pub(super) fn check_numbers(settings: &DeploymentSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, range) in PORTS.map(|port| (port, 1..=65_535)).into_iter().chain(NUMBER_RANGES) {
        let text = settings.text(name);
        if text.is_empty() && OPTIONAL_PORTS.iter().any(|port| port.setting == name) {
            continue;
        }
        let is_plain = text == "0" || !text.starts_with(['0', '+']);
        let number = text.parse::<u32>().ok().filter(|_| is_plain);
        if !number.is_some_and(|number| range.contains(&number)) {
            let (least, most) = range.into_inner();
            let what = format!("{name} in .env is not a number from {least} to {most}");
            findings.push(Finding::refused(what, "give such a number, in decimal digits"));
        }
    }
    if !matches!(settings.text("REPLICAS"), "1" | "2") {
        findings.push(Finding::refused("REPLICAS in .env is neither 1 nor 2", "set it to one of them"));
    }
    findings.extend(wrong_project_name(settings.text("COMPOSE_PROJECT_NAME")));
    findings
}

/// Returns the finding about a name that compose is to give to containers, networks and volumes, if there is one.
pub(in super::super) fn wrong_project_name(name: &str) -> Option<Finding> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let starts_well = name.bytes().next().is_some_and(is_plain);
    let fits = starts_well && name.bytes().all(|byte| is_plain(byte) || matches!(byte, b'_' | b'-'));
    (!fits).then(|| {
        let remedy = "give lower-case letters, digits, '-' and '_', with a letter or digit first";
        Finding::refused(format!("COMPOSE_PROJECT_NAME is {name}"), remedy)
    })
}

/// Whether processes would start with these settings.
pub(super) fn check_program(settings: &DeploymentSettings, components: ComponentFiles) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut files = settings.text("QUORATE_PLUGIN_FILES").split(',').map(|file| Path::new(file.trim()));
    // The check sees the folder of the deployment, and a party does not.
    if files.any(|file| !file.is_absolute() || file.starts_with("/deployment")) {
        let what = "QUORATE_PLUGIN_FILES in .env can't be used";
        findings.push(Finding::refused(
            what,
            "give absolute paths of files in the image, like /plugins/dkls23.wasm",
        ));
        return findings;
    }
    if let Err(error) = program_settings(settings.for_processes(), components) {
        findings.push(match error.downcast_ref::<ConfigError>() {
            Some(ConfigError::Invalid { name, wanted }) => {
                Finding::refused(format!("{name} in .env can't be used"), format!("give {wanted}"))
            }
            _ => Finding::refused(format!("a setting in .env is invalid: {error}"), "change what is named"),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::cli::deployment::finding::what;
    use crate::cli::deployment::testing::TestDeployment;

    fn found(set: &[(&str, &str)]) -> Vec<String> {
        let deployment = TestDeployment::new();
        for (name, value) in set {
            deployment.set(name, value);
        }
        let settings = deployment.settings();
        let findings = [
            check_names(&settings),
            check_passwords(&settings),
            check_public_keys(&settings),
            check_numbers(&settings),
            check_program(&settings, ComponentFiles::Elsewhere),
        ];
        findings.into_iter().flatten().map(|finding| finding.what).collect()
    }

    #[test]
    fn what_init_has_written_is_right() {
        assert_eq!(found(&[]), Vec::<String>::new());
    }

    #[test]
    fn a_setting_that_can_not_be_used_is_named() {
        let key = "ab".repeat(32);
        let seventeen: Vec<String> =
            (10..27).map(|number| format!("an-api-key-of-number-{number}")).collect();
        let seventeen = seventeen.join(",");
        for (name, value, wanted) in [
            ("REDIS_PASSWORD", "", "REDIS_PASSWORD in .env is not set"),
            ("REDIS_PASSWORD", "short", "REDIS_PASSWORD in .env is too short"),
            ("REDIS_PASSWORD", "change-me-redis-now", "REDIS_PASSWORD in .env is the example's"),
            ("JWT_SECRET_KEY", "only-twenty-letters-", "JWT_SECRET_KEY in .env is too short"),
            ("MPC_API_KEY", "with-slashes/and-more", "MPC_API_KEY in .env has other characters"),
            ("MPC_API_KEY", "an-api-key-that-is-long,short", "MPC_API_KEY in .env is too short"),
            ("MPC_API_KEY", "an-api-key-that-is-long,", "MPC_API_KEY in .env has an empty entry"),
            (
                "MPC_API_KEY",
                "an-api-key-that-is-long,an-api-key-that-is-long",
                "MPC_API_KEY in .env has one value twice",
            ),
            ("MPC_OPERATOR_API_KEY", "", "MPC_OPERATOR_API_KEY in .env is not set"),
            ("MPC_SHARES_API_KEY", &seventeen, "MPC_SHARES_API_KEY in .env can't be used: give 1 to 16 keys"),
            ("ROUTER_PORT", "http", "ROUTER_PORT in .env is not a number from 1 to 65535"),
            ("ROUTER_PORT", "0", "ROUTER_PORT in .env is not a number"),
            ("ROUTER_PORT", "080", "ROUTER_PORT in .env is not a number"),
            ("ROUTER_PORT", "70000", "ROUTER_PORT in .env is not a number"),
            ("QUORATE_GID", "99999999999", "QUORATE_GID in .env is not a number"),
            ("UP_SECONDS", "1", "UP_SECONDS in .env is not a number from 20"),
            ("REPLICAS", "3", "REPLICAS in .env is neither 1 nor 2"),
            ("COMPOSE_PROJECT_NAME", "Quorate", "COMPOSE_PROJECT_NAME is Quorate"),
            (
                "QUORATE_PARTY_KEYS",
                key.as_str(),
                "QUORATE_PARTY_KEYS in .env is not what ./deploy.sh init wrote",
            ),
            ("QUORATE_USER_PARTY_KEY", "abc", "QUORATE_USER_PARTY_KEY in .env is not what"),
            ("QUORATE_ORIGINATORS", "", "QUORATE_ORIGINATORS in .env is not what"),
            ("ALLOWED_IP", "10.0.0.0/8", "ALLOWED_IP in .env is not a setting of this deployment"),
            ("replicas", "2", "replicas in .env is not a setting of this deployment"),
            ("CRYPTO_MASTER_KEY", "0000", "CRYPTO_MASTER_KEY in .env is not a setting of this deployment"),
            ("MPC_API_KEY_SHA256", "0000", "MPC_API_KEY_SHA256 in .env is not a setting of this deployment"),
            ("ALLOWED_IPS", "10.0.0.0/33", "ALLOWED_IPS in .env can't be used"),
            ("QUORATE_LOG", "quorate=loud", "QUORATE_LOG in .env can't be used"),
            ("QUORATE_PLUGIN_FILES", "target/dkls23.wasm", "QUORATE_PLUGIN_FILES in .env can't be used"),
            ("QUORATE_NAMESPACE", "a/b", "QUORATE_NAMESPACE in .env can't be used"),
        ] {
            let found = found(&[(name, value)]);
            assert!(found.iter().any(|what| what.starts_with(wanted)), "{name}={value}: {found:?}");
        }
    }

    #[test]
    fn a_variable_of_the_shell_that_differs_is_refused_whether_or_not_env_names_it() {
        let deployment = TestDeployment::new();
        deployment.set("PUBLISH_ADDRESS", "");
        let found = |name: &str, value: &str| {
            let shell = [(name.to_owned(), Zeroizing::new(value.to_owned()))].into();
            what(&check_shell(&deployment.settings(), &Engine { shell, ..Engine::default() }))
        };
        for (name, value) in [
            ("ENVIRONMENT", "development"),
            ("REDIS_PASSWORD", ""),
            ("PUBLISH_ADDRESS", "0.0.0.0"),
            ("REPLICAS", "2"),
        ] {
            assert_eq!(
                found(name, value),
                format!("{name} is set in this shell to something else than in .env")
            );
        }
        for (name, value) in
            [("ENVIRONMENT", "production"), ("ALLOWED_IPS", ""), ("PATH", "/bin"), ("SECRETS_HASH", "1")]
        {
            assert_eq!(found(name, value), "", "{name}");
        }
    }

    #[test]
    fn one_value_for_two_settings_is_refused() {
        let shared = "a-key-that-opens-two-doors";
        let found = found(&[
            ("MPC_API_KEY", shared),
            ("MPC_OPERATOR_API_KEY", &format!("another-api-key-,{shared}")),
        ]);
        assert_eq!(found, ["MPC_OPERATOR_API_KEY and MPC_API_KEY in .env have the same value"]);
    }

    #[test]
    fn all_findings_are_told_at_once() {
        assert_eq!(found(&[("ROUTER_PORT", "x"), ("REDIS_PASSWORD", ""), ("UP_SECONDS", "1")]).len(), 3);
    }
}
