//! `quorate deployment init`: `.env` with fresh secrets, and `secrets/` with the keys of every party.
//!
//! Both are written under other names and get their own at the end: an init that is interrupted leaves nothing that
//! counts, and the next one completes or replaces it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, lchown};
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::check::wrong_project_name;
use super::engine_facts::Engine;
use super::layout::{PARTIES, SECRETS};
use super::settings::{password_settings, public_side};
use crate::cli::output::{CliError, print};
use crate::secret_file::{random_hex, write_new};

/// The example of all settings, of which `.env` is made.
const EXAMPLE: &str = include_str!("../../../../../.env.example");

/// As whom containers run if root makes the deployment: a user without rights.
const CONTAINER_UID: u32 = 10_001;

/// The arguments of `init`.
#[derive(Args)]
pub(super) struct InitArguments {
    /// The folder of the deployment
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// The beginning of the names of containers, networks and volumes
    #[arg(long, default_value = "quorate")]
    project: String,
    /// The image that the deployment runs; if empty, that of the example
    #[arg(long, default_value = "")]
    image: String,
    /// Read what deploy.sh tells of the engine from standard input
    #[arg(long)]
    engine: bool,
}

/// Writes a deployment into its folder, and overwrites nothing.
pub(super) fn init(arguments: &InitArguments) -> Result<(), CliError> {
    let engine = if arguments.engine { Engine::from_stdin()? } else { Engine::default() };
    print(make(arguments, &engine.volumes)?)
}

fn make(arguments: &InitArguments, volumes: &[String]) -> Result<&'static str, CliError> {
    let in_folder = |name: &str| arguments.folder.join(name);
    let (env, secrets) = (in_folder(".env"), in_folder("secrets"));
    let (new_env, new_secrets) = (in_folder(".env.new"), in_folder("secrets.new"));
    if secrets.exists() && new_env.exists() && !env.exists() {
        fs::rename(&new_env, &env)?;
        return Ok("made .env and secrets/, which an earlier init had begun");
    }
    refuse_existing(&env, &secrets, volumes, &arguments.project)?;
    if let Some(finding) = wrong_project_name(&arguments.project) {
        return Err(finding.to_string().into());
    }
    remove(&new_secrets).and_then(|()| remove(&new_env)).map_err(not_writable)?;
    let (user, group) = match rustix::process::getuid().as_raw() {
        0 => (CONTAINER_UID, CONTAINER_UID),
        user => (user, rustix::process::getgid().as_raw()),
    };
    make_folder(&new_secrets).map_err(not_writable)?;
    let keys = make_secrets(&new_secrets, user, group)?;
    let mut settings = vec![
        ("ENVIRONMENT", Zeroizing::new("production".to_owned())),
        ("QUORATE_ORIGINATORS", Zeroizing::new(keys.originator)),
        ("QUORATE_PARTY_KEYS", Zeroizing::new(keys.parties.join(","))),
        ("QUORATE_USER_PARTY_KEY", Zeroizing::new(keys.users_party)),
        ("QUORATE_UID", Zeroizing::new(user.to_string())),
        ("QUORATE_GID", Zeroizing::new(group.to_string())),
        ("COMPOSE_PROJECT_NAME", Zeroizing::new(arguments.project.clone())),
    ];
    for name in password_settings() {
        settings.push((name, random_hex()?));
    }
    if !arguments.image.is_empty() {
        settings.push(("QUORATE_IMAGE", Zeroizing::new(arguments.image.clone())));
    }
    write_new(&new_env, &filled_in(EXAMPLE, &settings), 0o600)?;
    sync(&arguments.folder)?;
    fs::rename(&new_secrets, &secrets)?;
    fs::rename(&new_env, &env)?;
    sync(&arguments.folder)?;
    Ok(
        "made .env and secrets/: keep copies of both somewhere safe, secrets/party-N/ of each party apart from the others'",
    )
}

/// An engine that gives users other numbers is a likely reason.
fn not_writable(error: std::io::Error) -> CliError {
    if error.kind() != std::io::ErrorKind::PermissionDenied {
        return error.into();
    }
    let why = "this folder can't be written to. If the Docker engine is rootless or has userns-remap, use one without";
    format!("{why}: {error}").into()
}

fn refuse_existing(env: &Path, secrets: &Path, volumes: &[String], project: &str) -> Result<(), CliError> {
    let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
    let existing = match (is_there(env), is_there(secrets)) {
        (false, false) => None,
        (true, false) => Some(".env is"),
        (false, true) => Some("secrets/ is"),
        (true, true) => Some(".env and secrets/ are"),
    };
    if let Some(existing) = existing {
        return Err(format!(
            "{existing} there already and not overwritten: accounts would be lost with the old keys. Move them away to make new ones"
        )
        .into());
    }
    if !volumes.is_empty() {
        return Err(format!(
            "there is data of {project} on this machine, which new secrets would not open: restore its .env and secrets/; or make \
             another deployment beside it (COMPOSE_PROJECT_NAME=other ./deploy.sh init, then other ports, EDGE_SUBNET and \
             TRUSTED_PROXIES in .env); or remove the data for good (docker volume rm {})",
            volumes.join(" ")
        )
        .into());
    }
    Ok(())
}

/// The public keys of a new deployment, in hex.
struct PublicKeys {
    originator: String,
    parties: Vec<String>,
    users_party: String,
}

/// Makes the folder with all secrets that are files.
fn make_secrets(folder: &Path, user: u32, group: u32) -> Result<PublicKeys, CliError> {
    let folders: BTreeSet<&str> = SECRETS.iter().filter_map(|secret| secret.file.split('/').next()).collect();
    for name in folders {
        make_folder(&folder.join(name))?;
    }
    let mut keys = PublicKeys { originator: String::new(), parties: vec![], users_party: String::new() };
    for secret in SECRETS.iter().filter(|secret| !secret.file.starts_with("shared/")) {
        let text = random_hex()?;
        write_new(&folder.join(secret.file), &text, 0o400)?;
        let (owner, kind) = secret.file.split_once('/').unwrap_or_default();
        let users_party = PARTIES.iter().any(|party| party.name == owner && party.is_users_party);
        let public = || public_side(&text).map(|key| key.to_string()).ok_or("a seed is malformed");
        match kind {
            "originator" => keys.originator = public()?,
            "identity" if users_party => keys.users_party = public()?,
            "identity" => keys.parties.push(public()?),
            _ => {}
        }
    }
    give(folder, user, group)?;
    Ok(keys)
}

/// Gives a folder and all files in it to a user. Symbolic links are not followed.
pub(super) fn give(folder: &Path, user: u32, group: u32) -> std::io::Result<()> {
    if !rustix::process::getuid().is_root() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => give(&entry.path(), user, group)?,
            false => lchown(entry.path(), Some(user), Some(group))?,
        }
    }
    lchown(folder, Some(user), Some(group))
}

pub(super) fn make_folder(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

/// Removes a file or a folder that an earlier run has left.
pub(super) fn remove(path: &Path) -> std::io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn sync(folder: &Path) -> std::io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// The example with other values for some settings.
fn filled_in(example: &str, settings: &[(&str, Zeroizing<String>)]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * example.len()));
    for line in example.lines() {
        let set =
            line.split_once('=').and_then(|(name, _)| settings.iter().find(|(other, _)| *other == name));
        match set {
            Some((name, value)) => text.extend([name, "=", value.as_str(), "\n"]),
            None => text.extend([line, "\n"]),
        }
    }
    text
}

#[cfg(test)]
pub(super) fn init_in(folder: &Path) {
    let arguments = arguments(folder);
    make(&arguments, &[]).unwrap();
}

#[cfg(test)]
fn arguments(folder: &Path) -> InitArguments {
    InitArguments {
        folder: folder.to_owned(),
        project: "quorate".into(),
        image: String::new(),
        engine: false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::layout::{Origin, SecretLayout};
    use super::*;

    fn made(folder: &Path) -> Result<&'static str, String> {
        make(&arguments(folder), &[]).map_err(|failure| failure.to_string())
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn every_secret_is_fresh_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        made(folder.path()).unwrap();
        let env = fs::read_to_string(path(".env")).unwrap();
        assert_eq!(mode(&path(".env")), 0o600);
        assert!(!env.contains("=change-me"), "a value of the example");
        assert_eq!(env.lines().count(), EXAMPLE.lines().count());
        let mut texts: Vec<String> = password_settings()
            .map(|name| {
                env.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).unwrap().to_owned()
            })
            .collect();
        for secret in SECRETS.iter().filter(|secret| !secret.file.starts_with("shared/")) {
            let file = path("secrets").join(secret.file);
            assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o400, 0o700), "{}", secret.file);
            texts.push(fs::read_to_string(file).unwrap());
        }
        let is_made = |secret: &&SecretLayout| !matches!(secret.origin, Origin::PublicKeys(_));
        let count = SECRETS.iter().filter(is_made).count();
        assert_eq!(texts.len(), count);
        assert!(texts.iter().all(|text| text.len() == 64));
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), count, "two secrets are the same");
        assert!(!path("secrets.new").exists() && !path(".env.new").exists());
    }

    #[test]
    fn nothing_that_is_there_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        made(folder.path()).unwrap();
        let before = fs::read(path(".env")).unwrap();
        assert!(made(folder.path()).unwrap_err().contains(".env and secrets/ are there already"));
        fs::rename(path("secrets"), path("kept")).unwrap();
        assert!(made(folder.path()).unwrap_err().contains(".env is there already"));
        assert_eq!(fs::read(path(".env")).unwrap(), before);
        fs::rename(path("kept"), path("secrets")).unwrap();
        fs::remove_file(path(".env")).unwrap();
        assert!(made(folder.path()).unwrap_err().contains("secrets/ is there already"));
        let other = tempfile::tempdir().unwrap();
        let volumes = ["quorate_postgres-data".to_owned()];
        let said = make(&arguments(other.path()), &volumes).unwrap_err().to_string();
        assert!(said.contains("docker volume rm quorate_postgres-data"), "{said}");
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_interrupted_init_is_completed_or_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        // Before the secrets had their name.
        fs::create_dir_all(path("secrets.new/party-1")).unwrap();
        fs::write(path(".env.new"), "half of").unwrap();
        made(folder.path()).unwrap();
        let env = fs::read(path(".env")).unwrap();
        assert!(env.len() > 1_000);
        // Between the two.
        fs::rename(path(".env"), path(".env.new")).unwrap();
        assert!(made(folder.path()).unwrap().contains("an earlier init had begun"));
        assert_eq!(fs::read(path(".env")).unwrap(), env);
    }

    #[test]
    fn project_and_image_are_those_of_the_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let mut arguments = arguments(folder.path());
        arguments.project = "Not a name".into();
        assert!(
            make(&arguments, &[]).unwrap_err().to_string().contains("COMPOSE_PROJECT_NAME is Not a name")
        );
        (arguments.project, arguments.image) = ("other".into(), "quorate:1".into());
        make(&arguments, &[]).unwrap();
        let env = fs::read_to_string(folder.path().join(".env")).unwrap();
        assert!(
            env.contains("\nCOMPOSE_PROJECT_NAME=other\n") && env.contains("\nQUORATE_IMAGE=quorate:1\n")
        );
    }
}
