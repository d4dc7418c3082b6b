//! Files with secrets: they are written to new files only, which only their owner can read, and reach the disk.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// The mode of a file that only its owner can read.
pub(crate) const OWNER_ONLY_MODE: u32 = 0o600;

/// Writes a secret to a new file. It has this mode once it is complete, and is its owner's alone before.
///
/// # Errors
/// Those of the system; also when the file is there already.
pub(crate) fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY_MODE).open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| match mode {
        OWNER_ONLY_MODE => file.sync_all(),
        // Some file systems know no modes: they are only asked where another one is wanted.
        mode => file.set_permissions(Permissions::from_mode(mode)).and_then(|()| file.sync_all()),
    });
    if written.is_err() {
        // Half a secret must not stand in the way of the next try.
        let _ = std::fs::remove_file(path);
    }
    written
}

/// 32 random bytes.
///
/// # Errors
/// When the machine has no randomness.
pub(crate) fn random() -> io::Result<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(io::Error::other)?;
    Ok(bytes)
}

/// 32 random bytes in hex: a password, or the seed of a key.
///
/// # Errors
/// See [`random`].
pub(crate) fn random_hex() -> io::Result<Zeroizing<String>> {
    Ok(Zeroizing::new(hex::encode(random()?.as_slice())))
}
