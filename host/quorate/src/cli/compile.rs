//! `quorate compile`: compiles components into the cache of a data folder, and ends. A party has it done by a process
//! of its own: compiling takes a hundred megabytes that would not be given back, and a component that makes the
//! compiler fail makes nobody else fail.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use zeroize::Zeroizing;

use super::output::CliError;
use crate::config::{Config, Seed};
use crate::roles::data_dir;

/// The components to compile.
#[derive(Args)]
pub(super) struct CompileArguments {
    /// The components
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Read the key that authenticates the code from standard input: 64 hex characters
    #[arg(long, hide = true)]
    key_from_stdin: bool,
}

/// The key comes from the master key: that of the settings, or of the first party of an embedded deployment.
fn cache_key(config: &Config, arguments: &CompileArguments) -> Result<Seed, CliError> {
    if arguments.key_from_stdin {
        let mut text = Zeroizing::new(String::new());
        std::io::stdin().take(64).read_to_string(&mut text)?;
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.as_bytes(), key.as_mut_slice())
            .map_err(|_| "standard input: a key of 64 hex characters is wanted")?;
        return Ok(key);
    }
    match &config.roles.master {
        Some(master) => Ok(master.compile_cache_key()),
        None => Ok(data_dir::compile_cache_key(&config.embedded.data, config.embedded.parties)?),
    }
}

pub(super) fn compile(config: &Config, arguments: CompileArguments) -> Result<(), CliError> {
    let runtime = data_dir::sandbox(
        &config.embedded.data,
        cache_key(config, &arguments)?,
        config.limits.sandbox_memory,
    )?;
    for file in arguments.files {
        let bytes = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        runtime.compile_ahead(&bytes)?;
    }
    Ok(())
}
