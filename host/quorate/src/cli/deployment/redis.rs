//! Redis's users. The account services have all of it. A party has a user of its own, which reaches the party's own values and nothing
//! else: none reads or overwrites what another party, or an account service, has put there.

use quorate_core::identity::PublicKey;
use quorate_party::cache_prefix_of;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::layout::PARTIES;
use super::settings::DeploymentSettings;
use crate::cli::output::CliError;

/// What a party does: it reads and sets values, and sees whether Redis is there.
const PARTY_COMMANDS: &str = "+get +psetex +del +ping";

/// The file of users of a deployment, as Redis reads it.
///
/// # Errors
/// When a setting or a secret is missing or malformed.
pub(super) fn users_of(settings: &DeploymentSettings) -> Result<String, CliError> {
    let secret = |file: &str| settings.secret_in(file).map_err(|finding| finding.to_string());
    let namespace = settings.text("QUORATE_NAMESPACE");
    let mut lines = vec![account_services(&secret("shared/redis_password")?)];
    for party in &PARTIES {
        let key = settings.identity_of(party).map_err(|finding| finding.to_string())?;
        let password = secret(&format!("{}/redis_password", party.name))?;
        lines.push(party_line(party.name, namespace, &key, &password));
    }
    Ok(lines.join("\n"))
}

fn account_services(password: &Zeroizing<String>) -> String {
    format!("user default reset on #{} ~* &* +@all", hash(password))
}

fn party_line(name: &str, namespace: &str, key: &PublicKey, password: &Zeroizing<String>) -> String {
    let prefix = cache_prefix_of(key);
    format!("user {name} reset on #{} ~{namespace}:{prefix}:* {PARTY_COMMANDS}", hash(password))
}

fn hash(password: &Zeroizing<String>) -> String {
    hex::encode(Sha256::digest(password.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::deployment::testing::TestDeployment;

    #[test]
    fn every_party_has_a_user_for_its_own_values() {
        let deployment = TestDeployment::new();
        let keys = ["01", "02", "03"].map(|byte| byte.repeat(32)).join(",");
        deployment.set("QUORATE_PARTY_KEYS", &keys);
        deployment.set("QUORATE_USER_PARTY_KEY", &"04".repeat(32));
        let users = users_of(&deployment.settings()).unwrap();
        let lines: Vec<&str> = users.lines().collect();
        assert_eq!(lines.len(), 1 + PARTIES.len());
        assert!(lines[0].starts_with("user default reset on #"), "{}", lines[0]);
        for (line, party) in lines[1..].iter().zip(&PARTIES) {
            let key = deployment.settings().identity_of(party).unwrap();
            let may = format!(" ~quorate:components:{key}:* {PARTY_COMMANDS}");
            assert!(line.starts_with(&format!("user {} reset on #", party.name)), "{line}");
            assert!(line.ends_with(&may), "{line}");
            let password =
                deployment.settings().secret_in(&format!("{}/redis_password", party.name)).unwrap();
            assert!(line.contains(&hash(&password)) && !line.contains(password.as_str()), "{line}");
        }
    }
}
