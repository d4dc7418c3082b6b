//! The keys of an embedded deployment: made at the first start, kept in files that only their owner can read.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use quorate_broker::store::MasterKey;
use zeroize::Zeroizing;

use super::{Seed, StartError};

/// All keys.
pub(super) struct Keys {
    pub(super) originator: Seed,
    pub(super) parties: Vec<PartyKeys>,
}

/// The keys of one party.
pub(super) struct PartyKeys {
    pub(super) identity: Seed,
    pub(super) master: MasterKey,
}

/// Reads the keys, and makes those that are not there.
pub(super) fn read_or_make(data: &Path, parties: u16) -> Result<Keys, StartError> {
    let folder = data.join("secrets");
    make_folder(&folder)?;
    let parties = (1..=parties).map(|party| {
        let folder = folder.join(format!("party-{party}"));
        make_folder(&folder)?;
        let path = folder.join("master_key");
        let master = text(&path)?;
        let master = MasterKey::from_hex(&master).map_err(|_| StartError::Key(path))?;
        Ok(PartyKeys { identity: seed(&folder.join("identity"))?, master })
    });
    let parties = parties.collect::<Result<_, StartError>>()?;
    Ok(Keys { originator: seed(&folder.join("originator"))?, parties })
}

/// The key that compiled code is authenticated with.
pub(super) fn compile_cache_key(data: &Path) -> Result<Seed, StartError> {
    let folder = data.join("secrets");
    make_folder(&folder)?;
    seed(&folder.join("compile_cache"))
}

/// Makes a folder that only we can look into.
pub(super) fn make_folder(path: &Path) -> Result<(), StartError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| StartError::File { path: path.to_owned(), source })
}

fn seed(path: &Path) -> Result<Seed, StartError> {
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text(path)?.as_bytes(), seed.as_mut_slice())
        .map_err(|_| StartError::Key(path.to_owned()))?;
    Ok(seed)
}

/// The 64 hex characters in a file; new ones, if there is no file.
fn text(path: &Path) -> Result<Zeroizing<String>, StartError> {
    let failed = |source| StartError::File { path: path.to_owned(), source };
    let mut text = Zeroizing::new(String::with_capacity(128));
    match OpenOptions::new().read(true).open(path) {
        Ok(file) => {
            // Anything longer is no key.
            file.take(128).read_to_string(&mut text).map_err(failed)?;
            Ok(Zeroizing::new(text.trim().to_owned()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut bytes = Zeroizing::new([0_u8; 32]);
            getrandom::fill(bytes.as_mut_slice()).map_err(|error| failed(std::io::Error::other(error)))?;
            let text = Zeroizing::new(hex::encode(bytes.as_slice()));
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
            Ok(text)
        }
        Err(error) => Err(failed(error)),
    }
}
