//! Whether a process of Quorate would start with the settings.

use std::path::Path;

use crate::cli::Failure;
use crate::config::Config;

/// The first bytes of every binary of the component model: WebAssembly's magic, version 13, layer 1.
const COMPONENT_PREFIX: &[u8] = b"\0asm\x0d\x00\x01\x00";

/// Reads settings as a process would.
pub(super) fn program_settings(settings: Vec<(String, String)>, plugins: bool) -> Result<Config, Failure> {
    check_config(Config::read(settings)?, plugins)
}

pub(super) fn check_config(config: Config, plugins: bool) -> Result<Config, Failure> {
    config.check_for_production(&[
        ("QUORATE_LISTEN", config.http.listen),
        ("QUORATE_PARTY_API_LISTEN", config.roles.party_api_listen),
    ])?;
    if plugins {
        config.embedded.plugins.iter().try_for_each(|file| is_component(file))?;
    }
    Ok(config)
}

/// Whether a file looks like a component. Whether it compiles is found out at the start of a party, because that takes a while.
fn is_component(file: &Path) -> Result<(), Failure> {
    let refused = |why: &str| format!("QUORATE_PLUGIN_FILES: {}: {why}", file.display());
    let bytes = std::fs::read(file).map_err(|error| refused(&error.to_string()))?;
    if bytes.starts_with(COMPONENT_PREFIX) {
        Ok(())
    } else {
        Err(refused("this is not a WebAssembly component").into())
    }
}
