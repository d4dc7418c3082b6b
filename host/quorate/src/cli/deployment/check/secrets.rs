//! Whether the files in `secrets/` are there, are different from each other, and belong to what `.env` names.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use quorate_core::identity::PublicKey;
use quorate_party_store::MasterKey;
use zeroize::Zeroizing;

use super::super::finding::Finding;
use super::super::layout::{Origin, PARTIES, SECRETS};
use super::super::settings::{DeploymentSettings, public_key, public_side};
use super::settings::{MIN_PASSWORD_CHARACTERS, wrong_password};

/// The file of the account service's key.
const ORIGINATOR: &str = "account/originator";

/// The file of the keys that authenticate stored accounts.
const ROW_KEYS: &str = "account/row_keys";

/// All files of `init`.
pub(super) fn check_secrets(settings: &DeploymentSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !settings.secrets().is_dir() {
        let remedy = "restore it from a backup: no other keys open what parties have stored";
        findings.push(Finding::refused("secrets/ is missing", remedy));
        return findings;
    }
    let mut is_complete = true;
    for secret in SECRETS.iter().filter(|secret| secret.origin == Origin::Generated) {
        let wrong = match settings.secret(secret) {
            Err(finding) => Some(finding),
            Ok(text) if secret.file.ends_with("_password") => {
                let described = format!("secrets/{}", secret.file);
                wrong_password(&described, &text, MIN_PASSWORD_CHARACTERS, settings.is_production())
            }
            Ok(text) if text.is_empty() => Some(Finding::refused(
                format!("secrets/{} is empty", secret.file),
                "restore it from a backup",
            )),
            Ok(_) => None,
        };
        is_complete &= wrong.is_none();
        findings.extend(wrong);
    }
    findings.extend(check_owner(settings));
    if is_complete {
        findings.extend(check_distinct(settings));
        findings.extend(check_originator(settings));
        findings.extend(check_row_keys(settings));
        findings.extend(check_parties(settings));
    }
    findings
}

/// Containers run as the user of `.env`, who must be able to read the files.
fn check_owner(settings: &DeploymentSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Root gives the files to that user at every start.
    if rustix::process::getuid().is_root() {
        return findings;
    }
    let owner = std::fs::metadata(settings.secrets().join(ORIGINATOR)).map(|file| file.uid().to_string());
    if owner.is_ok_and(|owner| owner != settings.text("QUORATE_UID")) {
        let what = "QUORATE_UID in .env is not the owner of secrets/, so that containers can't read them";
        findings.push(Finding::refused(what, "set it to the number of that user"));
    }
    findings
}

/// Each party has keys of its own.
fn check_distinct(settings: &DeploymentSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for kind in ["master_key", "identity"] {
        let secrets =
            PARTIES.iter().filter_map(|party| settings.secret_in(&format!("{}/{kind}", party.name)).ok());
        let secrets: Vec<Zeroizing<String>> = secrets.collect();
        let distinct: BTreeSet<&str> = secrets.iter().map(|secret| secret.as_str()).collect();
        if distinct.len() < PARTIES.len() {
            let what = format!("two parties have the same {kind} in secrets/");
            findings.push(Finding::refused(what, "restore the file of each party from a backup"));
        }
    }
    findings
}

fn check_originator(settings: &DeploymentSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let pinned: Vec<_> = settings.text("QUORATE_ORIGINATORS").split(',').filter_map(public_key).collect();
    match public_side_of(settings, ORIGINATOR) {
        Err(finding) => findings.push(finding),
        Ok(key) if !pinned.is_empty() && !pinned.contains(&key) => {
            let what = format!("secrets/{ORIGINATOR} is not a key of QUORATE_ORIGINATORS in .env");
            findings.push(Finding::refused(what, "restore the one or the other from a backup"));
        }
        Ok(_) => {}
    }
    findings
}

/// One key, and behind commas those before it.
fn check_row_keys(settings: &DeploymentSettings) -> Option<Finding> {
    let keys = settings.secret_in(ROW_KEYS).ok()?;
    let are_keys = keys.split(',').all(|key| public_side(key.trim()).is_some());
    (!are_keys).then(|| no_key(ROW_KEYS))
}

fn check_parties(settings: &DeploymentSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for party in &PARTIES {
        let file = format!("{}/identity", party.name);
        match (public_side_of(settings, &file), settings.identity_of(party)) {
            (Err(finding), _) => findings.push(finding),
            (Ok(key), Ok(pinned)) if key != pinned => {
                let what = format!(
                    "secrets/{file} is not the key that .env names for {} (QUORATE_PARTY_KEYS, QUORATE_USER_PARTY_KEY)",
                    party.name
                );
                findings.push(Finding::refused(what, "restore the one or the other from a backup"));
            }
            // That .env names no key for the party is a finding of its settings.
            _ => {}
        }
        let file = format!("{}/master_key", party.name);
        let key = settings.secret_in(&file).map(|text| MasterKey::from_hex(&text).is_ok());
        if key == Ok(false) {
            findings.push(no_key(&file));
        }
    }
    findings
}

/// The public key of a seed in a file.
fn public_side_of(settings: &DeploymentSettings, file: &str) -> Result<PublicKey, Finding> {
    public_side(&settings.secret_in(file)?).ok_or_else(|| no_key(file))
}

fn no_key(file: &str) -> Finding {
    let what = format!("secrets/{file} holds no key of 64 hex characters");
    Finding::refused(what, "it was changed or cut: restore it from a backup")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::deployment::finding::what;
    use crate::cli::deployment::testing::TestDeployment;

    fn found(deployment: &TestDeployment) -> String {
        what(&check_secrets(&deployment.settings()))
    }

    /// The findings once a file has another text.
    fn found_with(file: &str, text: &str) -> String {
        let deployment = TestDeployment::new();
        deployment.write_secret(file, text);
        found(&deployment)
    }

    #[test]
    fn what_init_has_written_is_right_with_and_without_line_ends() {
        let deployment = TestDeployment::new();
        assert_eq!(found(&deployment), "");
        let key = deployment.settings().secret_in("party-1/master_key").unwrap();
        deployment.write_secret("party-1/master_key", &format!("{}\r\n", key.as_str()));
        assert_eq!(found(&deployment), "");
    }

    #[test]
    fn a_file_that_is_missing_or_wrong_is_named() {
        let deployment = TestDeployment::new();
        std::fs::remove_file(deployment.secrets().join("party-2/identity")).unwrap();
        assert_eq!(found(&deployment), "secrets/party-2/identity is missing");
        std::fs::remove_dir_all(deployment.secrets()).unwrap();
        assert_eq!(found(&deployment), "secrets/ is missing");
        assert_eq!(
            found_with("party-1/master_key", "short"),
            "secrets/party-1/master_key holds no key of 64 hex characters"
        );
        assert_eq!(
            found_with("account/originator", "short"),
            "secrets/account/originator holds no key of 64 hex characters"
        );
        assert_eq!(
            found_with("account/row_keys", "short"),
            "secrets/account/row_keys holds no key of 64 hex characters"
        );
        let rotated = format!("{},{}", "5a".repeat(32), "a5".repeat(32));
        assert_eq!(found_with("account/row_keys", &rotated), "");
        assert_eq!(
            found_with("party-2/postgres_password", "short"),
            "secrets/party-2/postgres_password is too short"
        );
        assert_eq!(found_with("party-2/identity", ""), "secrets/party-2/identity is empty");
    }

    #[test]
    fn keys_that_were_exchanged_or_copied_are_found() {
        let another = "5a".repeat(32);
        assert!(
            found_with("user-party/identity", &another)
                .contains("is not the key that .env names for user-party")
        );
        assert!(found_with("account/originator", &another).contains("is not a key of QUORATE_ORIGINATORS"));
        let deployment = TestDeployment::new();
        for kind in ["identity", "master_key"] {
            let other = deployment.settings().secret_in(&format!("party-2/{kind}")).unwrap();
            deployment.write_secret(&format!("party-1/{kind}"), &other);
            assert!(found(&deployment).contains(&format!("two parties have the same {kind} in secrets/")));
        }
    }
}
