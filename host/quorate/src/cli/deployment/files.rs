//! `quorate deployment files`: the files in `secrets/shared/`, which containers read, made of `.env` and of the table.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::init::{give, make_folder, remove};
use super::layout::{OPTIONAL_PORTS, OptionalPort, Origin, SECRETS};
use super::postgres;
use super::rabbitmq;
use super::redis;
use super::settings::DeploymentSettings;
use crate::cli::output::{CliError, print};
use crate::secret_file::write_new;

/// RabbitMQ's own settings. A publisher that fills it up is held back before the container is killed for its memory.
const RABBITMQ_CONF: &str = "\
load_definitions = /etc/rabbitmq/definitions.json
vm_memory_high_watermark.absolute = 400MiB
disk_free_limit.absolute = 200MB
max_message_size = 8388608
log.console = true
log.file = false
";

/// Where to write.
#[derive(Args)]
pub(super) struct FilesArguments {
    /// The folder of the deployment
    #[arg(long, default_value = ".")]
    folder: PathBuf,
}

/// Writes the files, and prints what compose needs besides `.env`, as lines NAME=value: a hash of all secrets, with
/// which containers are made anew when one changes, the addresses of all replicas, and what more is published.
pub(super) fn files(arguments: &FilesArguments) -> Result<(), CliError> {
    let settings = DeploymentSettings::read(&arguments.folder).map_err(|finding| finding.to_string())?;
    print(&format!("SECRETS_HASH={}", write_all(&settings)?))?;
    for (name, addresses) in settings.replica_addresses() {
        print(&format!("{name}={addresses}"))?;
    }
    print(&format!("PUBLISHED={}", published(&settings)))
}

/// The ports that are published only if they are set, as a compose file without blanks: compose itself can't leave a port out.
/// Nothing if there is none.
fn published(settings: &DeploymentSettings) -> String {
    let set = OPTIONAL_PORTS.iter().filter(|port| !settings.text(port.setting).is_empty());
    let services = set.map(|OptionalPort { setting, service, port }| {
        let text = format!("{}:{}:{port}", settings.text("PUBLISH_ADDRESS"), settings.text(setting));
        ((*service).to_owned(), serde_json::json!({ "ports": [text] }))
    });
    let services: serde_json::Map<_, _> = services.collect();
    if services.is_empty() { String::new() } else { serde_json::json!({ "services": services }).to_string() }
}

fn write_all(settings: &DeploymentSettings) -> Result<String, CliError> {
    let secrets = settings.secrets();
    let (shared, new) = (secrets.join("shared"), secrets.join("shared.new"));
    remove(&new)?;
    make_folder(&new)?;
    for (name, text) in contents(settings)? {
        write_new(&new.join(name), &text, 0o444)?;
    }
    // Containers that run have the old files open: these stay if nothing has changed.
    if has_same_files(&new, &shared) {
        remove(&new)?;
    } else {
        remove(&shared)?;
        fs::rename(&new, &shared)?;
    }
    set_permissions(settings)?;
    hash_of(settings)
}

/// The name of the script that makes databases and roles.
const ROLES_SCRIPT: &str = "postgres-roles.sh";

/// The files in `secrets/shared/`, by name.
fn contents(settings: &DeploymentSettings) -> Result<Vec<(String, Zeroizing<String>)>, CliError> {
    let mut files = vec![
        ("rabbitmq.conf".to_owned(), Zeroizing::new(RABBITMQ_CONF.to_owned())),
        ("rabbitmq-definitions.json".to_owned(), Zeroizing::new(rabbitmq::definitions_of(settings)? + "\n")),
        ("redis-users.acl".to_owned(), Zeroizing::new(redis::users_of(settings)? + "\n")),
        (ROLES_SCRIPT.to_owned(), Zeroizing::new(postgres::roles_script())),
    ];
    for secret in SECRETS.iter().filter(|secret| secret.origin != Origin::Generated) {
        let text = settings.secret(secret).map_err(|finding| finding.to_string())?;
        files.push((secret.name.to_owned(), text));
    }
    Ok(files)
}

fn has_same_files(new: &Path, old: &Path) -> bool {
    let names = |folder: &Path| -> std::io::Result<Vec<_>> {
        let mut names =
            fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    };
    let same = |name| Ok(fs::read(new.join(&name))? == fs::read(old.join(&name))?);
    let compared = || -> std::io::Result<bool> {
        let (of_new, of_old) = (names(new)?, names(old)?);
        Ok(of_new == of_old
            && of_new
                .into_iter()
                .map(same)
                .collect::<std::io::Result<Vec<bool>>>()?
                .into_iter()
                .all(|same| same))
    };
    compared().unwrap_or(false)
}

/// Users inside containers have other numbers from image to image: what the services read, all can read, and on this
/// machine the folders keep everybody else away.
fn set_permissions(settings: &DeploymentSettings) -> Result<(), CliError> {
    let secrets = settings.secrets();
    for secret in SECRETS.iter().filter(|secret| secret.origin == Origin::Generated) {
        let path = secrets.join(secret.file);
        let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
        let mode = if secret.file.ends_with("/postgres_password") { 0o444 } else { mode | 0o400 };
        set_mode(&path, mode)?;
    }
    for entry in fs::read_dir(secrets.join("shared"))? {
        let path = entry?.path();
        let mode = if path.ends_with(ROLES_SCRIPT) { 0o555 } else { 0o444 };
        set_mode(&path, mode)?;
    }
    let number = |name: &str| {
        settings.text(name).parse::<u32>().map_err(|_| format!("{name} in .env is not a number"))
    };
    give(&secrets, number("QUORATE_UID")?, number("QUORATE_GID")?)?;
    fs::set_permissions(&secrets, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(&secrets)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::set_permissions(entry.path(), Permissions::from_mode(0o700))?;
        }
    }
    Ok(())
}

/// Sets the mode of a file. A symbolic link is refused: it could lead anywhere.
fn set_mode(path: &Path, mode: u32) -> Result<(), CliError> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(format!("{} is not a file: restore it from a backup", path.display()).into());
    }
    Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
}

/// Changes when one of the files changes. It goes into labels of containers, and tells nothing of a secret of 128
/// bits and more.
fn hash_of(settings: &DeploymentSettings) -> Result<String, CliError> {
    let mut files: Vec<String> = SECRETS
        .iter()
        .filter(|secret| secret.origin == Origin::Generated)
        .map(|secret| secret.file.to_owned())
        .collect();
    for entry in fs::read_dir(settings.secrets().join("shared"))? {
        files.push(format!("shared/{}", entry?.file_name().to_string_lossy()));
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let content = Zeroizing::new(fs::read(settings.secrets().join(&file))?);
        hash.update((file.len() as u64).to_be_bytes());
        hash.update(&file);
        hash.update(Sha256::digest(content.as_slice()));
    }
    Ok(hex::encode(&hash.finalize()[..8]))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::cli::deployment::testing::TestDeployment;

    #[test]
    fn files_are_made_anew_only_if_something_has_changed() {
        let deployment = TestDeployment::new();
        let write = || write_all(&deployment.settings()).unwrap();
        let definitions =
            || fs::metadata(deployment.secrets().join("shared/rabbitmq-definitions.json")).unwrap().ino();
        let (hash, file) = (write(), definitions());
        assert_eq!((write(), definitions()), (hash.clone(), file));
        deployment.set("REDIS_PASSWORD", "another-password");
        let changed = write();
        assert!(changed != hash && definitions() != file);
        let password = fs::read_to_string(deployment.secrets().join("shared/redis_password")).unwrap();
        assert_eq!(password, "another-password");
        // As a backup that was unpacked by a careful user.
        let shared = deployment.secrets().join("shared/redis_password");
        fs::set_permissions(&shared, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(write(), changed);
        assert_eq!(fs::metadata(&shared).unwrap().permissions().mode() & 0o777, 0o444);
        // A file that only one party reads.
        deployment.write_secret("party-1/postgres_password", "another-password");
        assert_ne!(write(), changed);
    }

    #[test]
    fn the_ports_of_coordinator_and_router_are_published_only_if_they_are_set() {
        let deployment = TestDeployment::new();
        let text = || published(&deployment.settings());
        assert_eq!(text(), "");
        deployment.set("COORDINATOR_PORT", "9081");
        assert_eq!(text(), r#"{"services":{"session-coordinator":{"ports":["127.0.0.1:9081:8081"]}}}"#);
        deployment.set("ROUTER_PORT", "9082");
        assert!(text().contains(r#""message-router":{"ports":["127.0.0.1:9082:8082"]}"#), "{}", text());
        // A shell takes it as one word.
        assert!(!text().contains(char::is_whitespace));
    }

    #[test]
    fn services_can_read_their_files_and_nobody_gets_past_the_folders() {
        let deployment = TestDeployment::new();
        write_all(&deployment.settings()).unwrap();
        let mode =
            |file: &str| fs::metadata(deployment.secrets().join(file)).unwrap().permissions().mode() & 0o777;
        for (file, wanted) in [
            ("", 0o700),
            ("shared", 0o700),
            ("party-1", 0o700),
            ("shared/rabbitmq.conf", 0o444),
            ("shared/postgres-roles.sh", 0o555),
            ("party-1/postgres_password", 0o444),
            ("party-1/identity", 0o400),
            ("account/originator", 0o400),
        ] {
            assert_eq!(mode(file), wanted, "{file}");
        }
        assert!(!deployment.secrets().join("shared.new").exists());
        let (link, target) =
            (deployment.secrets().join("party-1/identity"), deployment.folder().join("target"));
        fs::write(&target, "of another user").unwrap();
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let said = write_all(&deployment.settings()).unwrap_err().to_string();
        assert!(said.contains("party-1/identity is not a file"), "{said}");
        assert_ne!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o400);
    }
}
