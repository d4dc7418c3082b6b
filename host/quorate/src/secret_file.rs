//! Files with secrets: they are written to new files only, which only their owner can read, and reach the disk.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// The mode of a file that only its owner can read.
pub(crate) const OWNER_ONLY_MODE: u32 = 0o600;

/// The bits of a mode by which others may write.
const OTHERS_WRITE: u32 = 0o022;

/// The bits of a mode by which others may do anything.
const OTHERS: u32 = 0o077;

/// Who else may do what with a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nobody: it is this user's alone.
    OwnerOnly,
    /// Others may read it: they get it from elsewhere, or are kept away by a folder.
    OthersRead,
}

/// Checks that others can't do more with a file or folder than they may.
///
/// # Errors
/// Those of the system; and when others can do more, what the operator does about it.
pub(crate) fn check_access(path: &Path, access: Access) -> io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    let (forbidden, remedy) = match access {
        Access::OwnerOnly => (OTHERS, "others can reach it: make it its owner's alone (chmod go-rwx)"),
        Access::OthersRead => (OTHERS_WRITE, "others can write to it: take that from them (chmod go-w)"),
    };
    // What root has written, and what root reads, is not another user's doing.
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    let is_own = owner == user || access == Access::OthersRead && (owner == 0 || user == 0);
    if !is_own {
        let remedy = "it belongs to another user: give it to the one that runs quorate (chown)";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, remedy));
    }
    if metadata.mode() & forbidden != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, remedy));
    }
    Ok(())
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_reach_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        write_new(&file, "secret", OWNER_ONLY_MODE).unwrap();
        for (mode, owner_only, others_read) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o440, false, true),
            (0o444, false, true),
            (0o620, false, false),
            (0o602, false, false),
        ] {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert_eq!(check_access(&file, Access::OwnerOnly).is_ok(), owner_only, "{mode:o}");
            assert_eq!(check_access(&file, Access::OthersRead).is_ok(), others_read, "{mode:o}");
        }
    }
}
