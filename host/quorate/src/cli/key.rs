//! Implements `quorate key`: makes signing keys and shows the public sides of keys, and hashes API keys.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use quorate_core::identity::SecretKey;
use quorate_net::join_token::JoinKey;
use quorate_net::web::guard::ApiKeyHashes;
use zeroize::Zeroizing;

use super::input::{MAX_API_KEYS_BYTES, read_text};
use super::output::{CliError, print};
use crate::secret_file::{OWNER_ONLY_MODE, random, write_new};

/// An action with keys.
#[derive(Args)]
pub(super) struct KeyArguments {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make a new signing key in a file (an identity or originator key), and print its public side
    New {
        /// The file; it must not be there yet
        file: PathBuf,
    },
    /// Print the public side of a signing key
    Public {
        /// Its file
        file: PathBuf,
    },
    /// Print the public side of the JWT_SECRET_KEY that standard input has, for JWT_PUBLIC_KEYS of routers
    Join,
    /// Print the SHA-256 hashes of API keys that standard input has, one in a line or with commas between
    Hash,
}

pub(super) fn key(arguments: KeyArguments) -> Result<(), CliError> {
    let seed = match &arguments.command {
        KeyCommand::New { file } => make(file)?,
        KeyCommand::Public { file } => read(file)?,
        KeyCommand::Join => {
            let secret = read_text(io::stdin(), MAX_API_KEYS_BYTES)?;
            return print(&JoinKey::new(secret.trim())?.public().to_string());
        }
        KeyCommand::Hash => return print(&hashes(&read_text(io::stdin(), MAX_API_KEYS_BYTES)?)?),
    };
    print(&SecretKey::from_seed(&seed).public().to_string())
}

/// Keys are not arguments: other users of the machine can see those.
fn hashes(keys: &str) -> Result<String, CliError> {
    let failed = |error| format!("the keys can't be hashed: {error}");
    let list = Zeroizing::new(keys.trim().replace('\n', ","));
    Ok(ApiKeyHashes::of_list(&list).map_err(failed)?.to_list())
}

fn make(file: &Path) -> Result<Zeroizing<[u8; 32]>, CliError> {
    let seed = random()?;
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::AlreadyExists => {
            format!(
                "{}: this file is there already, and no key is overwritten: name another one",
                file.display()
            )
        }
        ErrorKind::NotFound => format!("{}: make its folder first", file.display()),
        _ => format!("{}: the key was not made: {error}", file.display()),
    };
    let text = Zeroizing::new(hex::encode(seed.as_slice()) + "\n");
    write_new(file, &text, OWNER_ONLY_MODE).map_err(failed)?;
    Ok(seed)
}

fn read(file: &Path) -> Result<Zeroizing<[u8; 32]>, CliError> {
    let failed = |error| format!("{}: name a file that `quorate key new` made ({error})", file.display());
    let text = Zeroizing::new(std::fs::read_to_string(file).map_err(failed)?);
    let mut seed = Zeroizing::new([0; 32]);
    let read = hex::decode_to_slice(text.trim(), seed.as_mut_slice());
    read.map_err(|_| {
        format!(
            "{}: this is no key (64 hex characters): name a file that `quorate key new` made",
            file.display()
        )
    })?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_several_lines_are_hashed() {
        let one = hashes("correct horse battery\n").unwrap();
        let two = hashes("correct horse battery\r\nanother key for callers\r\n\n").unwrap();
        assert!(one.len() == 64 && two.starts_with(&format!("{one},")) && two.len() == 129);
        for wrong in ["", "\n,", "short", "correct horse battery,"] {
            assert!(hashes(wrong).is_err(), "{wrong}");
        }
    }
}
