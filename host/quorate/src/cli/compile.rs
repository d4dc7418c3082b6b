//! `quorate compile`: compiles components into the cache of a data folder, and ends. A party has it done by a process
//! of its own: compiling takes a hundred megabytes that would not be given back, and a component that makes the
//! compiler fail makes nobody else fail.

use std::path::PathBuf;

use clap::Args;

use super::output::CliError;
use crate::config::Config;
use crate::roles::data_dir;

/// The components to compile.
#[derive(Args)]
pub(super) struct CompileArguments {
    /// The components
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub(super) fn compile(config: &Config, arguments: CompileArguments) -> Result<(), CliError> {
    let runtime = data_dir::sandbox(&config.embedded.data, config.limits.sandbox_memory)?;
    for file in arguments.files {
        let bytes = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        runtime.compile_ahead(&bytes)?;
    }
    Ok(())
}
