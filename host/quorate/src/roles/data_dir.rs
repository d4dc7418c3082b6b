//! The data folder of an embedded deployment: its lock, and its keys, which are made at the first start and kept in files
//! that only their owner can read.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use quorate_party_store::MasterKey;
use quorate_runtime::{CompileCache, Runtime, RuntimeConfig};
use zeroize::Zeroizing;

use super::error::LocalError;
use super::local_databases::ACCOUNT_FILE;
use crate::config::Seed;
use crate::secret_file::{Access, OWNER_ONLY_MODE, check_access, random_hex, write_new};

/// A sandbox that keeps what it has compiled in a data folder, authenticated under a key that comes from a party's master key. Its
/// sessions have so many bytes of memory together.
pub(crate) fn sandbox(data: &Path, key: Seed, memory_bytes: usize) -> Result<Runtime, LocalError> {
    make_folder(data)?;
    let folder = data.join("compiled");
    let cache = CompileCache::open(&folder, key);
    let compile_cache = Some(cache.map_err(|source| LocalError::File { path: folder, source })?);
    Runtime::new(RuntimeConfig { compile_cache, memory_bytes, ..RuntimeConfig::default() })
        .map_err(LocalError::Runtime)
}

/// What happens when the file of a key is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IfMissing {
    /// A new key is made.
    Make,
    /// Its database is there: another key would not open it.
    Refuse,
}

/// All keys.
pub(super) struct EmbeddedKeys {
    pub(super) originator: Seed,
    /// Authenticates the rows of the account service.
    pub(super) account_rows: Seed,
    pub(super) parties: Vec<PartyKeys>,
}

/// The keys of one party.
pub(super) struct PartyKeys {
    pub(super) identity: Seed,
    pub(super) master: MasterKey,
}

/// Reads the keys; makes them if these are the first ones that this folder sees. A key that is missing beside a
/// database that it has sealed is never replaced by another.
pub(super) fn read_or_make(data: &Path, parties: u16) -> Result<EmbeddedKeys, LocalError> {
    let folder = data.join("secrets");
    make_folder(&folder)?;
    let beside =
        |database: &str| if data.join(database).exists() { IfMissing::Refuse } else { IfMissing::Make };
    let parties = (1..=parties).map(|party| {
        let folder = folder.join(format!("party-{party}"));
        make_folder(&folder)?;
        let if_missing = beside(&format!("party-{party}.db"));
        let path = folder.join("master_key");
        let master = text(&path, if_missing)?;
        let master = MasterKey::from_hex(&master).map_err(|_| LocalError::Key(path))?;
        Ok(PartyKeys { identity: seed(&folder.join("identity"), if_missing)?, master })
    });
    let parties = parties.collect::<Result<_, LocalError>>()?;
    Ok(EmbeddedKeys {
        originator: seed(&folder.join("originator"), beside(ACCOUNT_FILE))?,
        account_rows: seed(&folder.join("account_rows"), beside(ACCOUNT_FILE))?,
        parties,
    })
}

/// The key that the code of an embedded deployment is authenticated with: the first party's.
pub(crate) fn compile_cache_key(data: &Path, parties: u16) -> Result<Seed, LocalError> {
    read_or_make(data, parties)?.compile_cache_key()
}

impl EmbeddedKeys {
    /// With another key everything is compiled anew.
    pub(super) fn compile_cache_key(&self) -> Result<Seed, LocalError> {
        let first = self.parties.first().ok_or(LocalError::NoParties)?;
        Ok(first.master.compile_cache_key())
    }
}

/// The API key of a deployment that was given none: made once.
pub(crate) fn api_key(data: &Path) -> Result<(PathBuf, Zeroizing<String>), LocalError> {
    make_folder(data)?;
    let path = data.join("api-key");
    let key = text(&path, IfMissing::Make)?;
    Ok((path, key))
}

/// Makes a folder that only we can look into.
pub(super) fn make_folder(path: &Path) -> Result<(), LocalError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    // It may have been there before.
    let checked = made.and_then(|()| check_access(path, Access::OthersRead));
    checked.map_err(|source| LocalError::File { path: path.to_owned(), source })
}

/// Keeps a data folder for this process, until the returned file is closed. A second process would end the sessions of
/// the first one.
///
/// # Errors
/// [`LocalError::FolderInUse`], or [`LocalError::File`].
pub(super) fn lock(data: &Path) -> Result<File, LocalError> {
    let path = data.join("lock");
    let failed = |source| LocalError::File { path: path.clone(), source };
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(OWNER_ONLY_MODE).open(&path);
    let file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LocalError::FolderInUse(data.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn seed(path: &Path, if_missing: IfMissing) -> Result<Seed, LocalError> {
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text(path, if_missing)?.as_bytes(), seed.as_mut_slice())
        .map_err(|_| LocalError::Key(path.to_owned()))?;
    Ok(seed)
}

/// The 64 hex characters in a file, or new ones if it is missing and may be made.
fn text(path: &Path, if_missing: IfMissing) -> Result<Zeroizing<String>, LocalError> {
    let failed = |source| LocalError::File { path: path.to_owned(), source };
    let mut text = Zeroizing::new(String::with_capacity(128));
    match OpenOptions::new().read(true).open(path) {
        Ok(file) => {
            check_access(path, Access::OwnerOnly).map_err(failed)?;
            // Anything longer is no key.
            file.take(128).read_to_string(&mut text).map_err(failed)?;
            Ok(Zeroizing::new(text.trim().to_owned()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if if_missing == IfMissing::Refuse {
                return Err(LocalError::Missing(path.to_owned()));
            }
            let text = random_hex().map_err(failed)?;
            write_new(path, &text, OWNER_ONLY_MODE).map_err(failed)?;
            // The file's name too must be there after a power cut, before anything is sealed with the key.
            let folder = path.parent().unwrap_or(Path::new("."));
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
            Ok(text)
        }
        Err(error) => Err(failed(error)),
    }
}
