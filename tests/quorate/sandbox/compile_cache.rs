//! Compiled code is kept, is trusted only with this host's code on it, and rebuilds itself.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use quorate_runtime::{CompileCache, Grants, Runtime, RuntimeConfig};
use quorate_tests::components;
use zeroize::Zeroizing;

async fn load_with(folder: &Path, key: u8) {
    let cache = CompileCache::open(folder, Zeroizing::new([key; 32])).unwrap();
    let config = RuntimeConfig { compile_cache: Some(cache), ..RuntimeConfig::default() };
    let runtime = Runtime::new(config).unwrap();
    runtime.load(&components::bytes("frost-ed25519"), &Grants::default()).await.unwrap();
}

fn only_file(folder: &Path) -> PathBuf {
    let files: Vec<_> = folder.read_dir().unwrap().map(|f| f.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[tokio::test]
async fn a_corrupted_cut_or_foreign_file_is_replaced() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("compiled");
    load_with(&folder, 1).await;
    let file = only_file(&folder);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let good = std::fs::read(&file).unwrap();

    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for bad in [flipped, good[..good.len() - 1].to_vec(), vec![], vec![0; 31]] {
        std::fs::write(&file, &bad).unwrap();
        load_with(&folder, 1).await;
        assert_ne!(std::fs::read(&file).unwrap(), bad, "a bad file was kept");
    }
    let again = std::fs::read(&file).unwrap();
    load_with(&folder, 2).await;
    assert_ne!(std::fs::read(&file).unwrap(), again, "a file of another host's key was kept");
    let by_key_2 = std::fs::read(&file).unwrap();
    load_with(&folder, 2).await;
    assert_eq!(std::fs::read(&file).unwrap(), by_key_2, "a good file was written again");
}

#[test]
fn a_folder_that_others_can_write_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = CompileCache::open(folder.path(), Zeroizing::new([0; 32])).unwrap_err();
    assert!(error.to_string().contains("chmod 700"), "{error}");
}
