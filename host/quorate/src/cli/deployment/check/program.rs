//! Whether a process of Quorate would start with the settings.

use std::io::Read;
use std::path::Path;

use crate::cli::output::CliError;
use crate::config::Config;

/// The first bytes of every binary of the component model: WebAssembly's magic, version 13, layer 1.
const COMPONENT_PREFIX: &[u8] = b"\0asm\x0d\x00\x01\x00";

/// Where the components are that the settings name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ComponentFiles {
    /// On this machine: they are looked at.
    Here,
    /// On another machine or in another image.
    Elsewhere,
}

/// Reads settings as a process would.
pub(super) fn program_settings(
    settings: Vec<(String, String)>,
    files: ComponentFiles,
) -> Result<Config, CliError> {
    check_config(Config::read(settings)?, files)
}

pub(super) fn check_config(config: Config, files: ComponentFiles) -> Result<Config, CliError> {
    let public =
        [("QUORATE_LISTEN", config.http.listen), ("QUORATE_PARTY_API_LISTEN", config.roles.party_api_listen)];
    let for_roles = [
        ("QUORATE_COORDINATOR_LISTEN", config.roles.coordinator_listen),
        ("QUORATE_ROUTER_LISTEN", config.roles.router_listen),
        ("QUORATE_PARTY_API_GRPC_LISTEN", config.roles.party_api_grpc_listen),
    ];
    config.check_for_production(&public, &for_roles)?;
    if files == ComponentFiles::Here {
        config.embedded.plugins.iter().try_for_each(|file| is_component(file))?;
    }
    Ok(config)
}

/// Whether a file looks like a component. Whether it compiles is found out at the start of a party, because that
/// takes a while.
fn is_component(file: &Path) -> Result<(), CliError> {
    let refused = |why: &str| format!("QUORATE_PLUGIN_FILES: {}: {why}", file.display());
    let mut prefix = [0; COMPONENT_PREFIX.len()];
    let opened = std::fs::File::open(file).and_then(|mut opened| {
        if opened.metadata()?.is_file() { opened.read_exact(&mut prefix) } else { Ok(()) }
    });
    let is_short = |error: &std::io::Error| error.kind() == std::io::ErrorKind::UnexpectedEof;
    match opened {
        Err(error) if !is_short(&error) => return Err(refused(&error.to_string()).into()),
        _ => {}
    }
    if prefix == *COMPONENT_PREFIX {
        Ok(())
    } else {
        Err(refused("this is not a WebAssembly component").into())
    }
}
