//! Components that are compiled once for all tests of a process: compiling them for every party of every test takes longer than many a
//! test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use quorate_runtime::CompileCache;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::single_process::program;

/// Copies compiled components into the data folder of a party with this master key. The folder must not exist.
///
/// # Panics
/// When it can't be copied.
pub fn copy_for_party(plugins: &[PathBuf], master: &str, to: &Path) {
    copy(plugins, &[("CRYPTO_MASTER_KEY", master)], to);
}

/// Copies compiled components, and the keys that they are compiled under, into the data folder of a deployment in one process. The folder
/// must not exist.
///
/// # Panics
/// When it can't be copied.
pub fn copy_for_embedded(plugins: &[PathBuf], parties: u16, to: &Path) {
    copy(plugins, &[("QUORATE_PARTIES", &parties.to_string())], to);
}

/// A cache of compiled components for sandboxes of this process.
///
/// # Panics
/// When there can be none.
pub fn cache() -> CompileCache {
    let folder = tempfile::tempdir().unwrap().keep();
    CompileCache::open(&folder, Zeroizing::new([1; 32])).unwrap()
}

/// The components and the settings that they are compiled with.
type Compiled = (Vec<PathBuf>, Vec<String>);

fn copy(plugins: &[PathBuf], settings: &[(&str, &str)], to: &Path) {
    static FOLDERS: Mutex<BTreeMap<Compiled, TempDir>> = Mutex::new(BTreeMap::new());
    let values = settings.iter().map(|(_, value)| (*value).to_owned()).collect();
    let mut folders = FOLDERS.lock().unwrap();
    let folder = folders.entry((plugins.to_vec(), values)).or_insert_with(|| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(program());
        command.env_clear().env("QUORATE_DATA", folder.path().join("data")).envs(settings.iter().copied());
        // What can't be compiled is for the test to see.
        let _ = command.arg("compile").args(plugins).stderr(Stdio::null()).status();
        folder
    });
    let copied = Command::new("cp").arg("-a").arg(folder.path().join("data")).arg(to).status();
    assert!(copied.unwrap().success(), "compiled components can't be copied to {}", to.display());
}
