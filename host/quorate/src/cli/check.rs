//! `quorate check`: reads settings as a process would that starts, and ends: what is wrong with them is known before anything
//! that runs is stopped for them. It reaches no service.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use quorate_core::identity::SecretKey;
use zeroize::Zeroizing;

use super::{Failure, print};
use crate::config::{Config, ConfigError, Seed};

/// How much of a file is read: settings are a few kilobytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What every binary of the component model begins with: WebAssembly's magic, version 13, layer 1.
const COMPONENT_PREFIX: &[u8] = b"\0asm\x0d\x00\x01\x00";

/// Which settings.
#[derive(Args)]
pub(super) struct CheckArguments {
    /// Lines NAME=value instead of the environment; `-` is standard input
    file: Option<PathBuf>,
    /// Also that the components of QUORATE_PLUGIN_FILES are here
    #[arg(long)]
    plugins: bool,
}

/// Fails if a process would refuse the settings. What a role needs and is not set, and what only the services can tell, the
/// role finds out. Prints the public sides of keys, and the newest schemas that this program knows.
pub(super) fn check(
    environment: Result<Config, ConfigError>,
    arguments: &CheckArguments,
) -> Result<(), Failure> {
    let config = match &arguments.file {
        None => environment?,
        Some(file) => Config::read(settings(&text_of(file)?)?)?,
    };
    let roles = &config.roles;
    config.check_for_production(&[
        ("QUORATE_LISTEN", config.http.listen),
        ("QUORATE_PARTY_API_LISTEN", roles.party_api_listen),
    ])?;
    if arguments.plugins {
        config.embedded.plugins.iter().try_for_each(|file| is_component(file))?;
    }
    for name in &config.strangers {
        print(&format!("{name}: this looks like a setting, and is none of ours: it changes nothing"));
    }
    show("QUORATE_IDENTITY_KEY", roles.identity.as_ref());
    show("QUORATE_ORIGINATOR_KEY", roles.originator.as_ref());
    print(&format!(
        "schemas: control {}, party {}",
        quorate_control_store::SCHEMA.newest(),
        quorate_party_store::SCHEMA.newest()
    ));
    print("the settings can be used");
    Ok(())
}

fn show(name: &str, seed: Option<&Seed>) {
    if let Some(seed) = seed {
        print(&format!("{name}: public key {}", SecretKey::from_seed(seed).public()));
    }
}

/// Whether a file looks like a component; whether it is a good one is found out when it is compiled, which takes a while.
fn is_component(file: &Path) -> Result<(), Failure> {
    let refused = |why: &str| format!("QUORATE_PLUGIN_FILES: {}: {why}", file.display());
    let bytes = std::fs::read(file).map_err(|error| refused(&error.to_string()))?;
    if bytes.starts_with(COMPONENT_PREFIX) {
        Ok(())
    } else {
        Err(refused("this is no WebAssembly component").into())
    }
}

/// Reads a file, or standard input for `-`.
pub(super) fn text_of(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let failed = |error| format!("{}: the settings can't be read: {error}", file.display());
    let source: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(std::fs::File::open(file).map_err(failed)?),
    };
    let mut text = Zeroizing::new(String::new());
    let bytes = source.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if bytes as u64 > MAX_FILE_BYTES {
        return Err(format!("{}: too long for settings", file.display()).into());
    }
    Ok(text)
}

/// Reads lines NAME=value. Malformed lines are reported by number only: their content may be a secret.
pub(super) fn settings(text: &str) -> Result<Vec<(String, String)>, Failure> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let setting = |(index, line): (usize, &str)| {
        let (name, value) =
            line.split_once('=').ok_or_else(|| format!("line {} is not NAME=value", index + 1))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    lines.map(setting).collect()
}
