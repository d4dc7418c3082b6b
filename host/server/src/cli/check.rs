//! `quorate check`: reads settings as a process would that starts, and ends: what is wrong with them is known before anything
//! that runs is stopped for them.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::{Failure, print};
use crate::config::Config;

/// How much of a file is read: settings are a few kilobytes.
const FILE_BYTES: u64 = 1 << 20;

/// Which settings.
#[derive(Args)]
pub(super) struct CheckArguments {
    /// Lines NAME=value instead of the environment; `-` is standard input
    file: Option<PathBuf>,
    /// Also that the components of QUORATE_PLUGIN_FILES can be read here
    #[arg(long)]
    plugins: bool,
}

/// Ends well if no process would refuse the settings for themselves. What one role needs and is not set, and what only the
/// services can tell, is found out by the role.
pub(super) fn check(config: Config, arguments: CheckArguments) -> Result<(), Failure> {
    let config = match &arguments.file {
        None => config,
        Some(file) => Config::read(lines(&read(file)?)?)?,
    };
    config.check_for_production(&[])?;
    if arguments.plugins {
        for file in &config.embedded.plugins {
            std::fs::read(file)
                .map_err(|error| format!("QUORATE_PLUGIN_FILES: {}: {error}", file.display()))?;
        }
    }
    for name in &config.strangers {
        print(&format!("{name}: this looks like a setting, and is none of ours: it changes nothing"));
    }
    print("the settings can be used");
    Ok(())
}

fn read(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let reading = |source: &mut dyn Read, text: &mut String| source.take(FILE_BYTES + 1).read_to_string(text);
    let read = match file.as_os_str() == "-" {
        true => reading(&mut std::io::stdin(), &mut text),
        false => std::fs::File::open(file).and_then(|mut file| reading(&mut file, &mut text)),
    };
    match read {
        Ok(bytes) if bytes as u64 > FILE_BYTES => {
            Err(format!("{}: too long for settings", file.display()).into())
        }
        Ok(_) => Ok(text),
        Err(error) => Err(format!("{}: the settings can't be read: {error}", file.display()).into()),
    }
}

/// What a line that is none says is not shown: it may be a secret.
fn lines(text: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut settings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) =
            line.split_once('=').ok_or_else(|| format!("line {} is not NAME=value", number + 1))?;
        settings.push((name.to_owned(), value.to_owned()));
    }
    Ok(settings)
}
