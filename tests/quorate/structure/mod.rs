//! The structure of the repository, held by tests: which crate may depend on which and on what from elsewhere, how
//! long files and functions are, and that no files import each other in a circle.

mod crates;
mod dependencies;
mod files;
mod program;
mod trust_model;

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Cargo's metadata of the workspace in this folder of the repository.
fn metadata(folder: &str) -> Value {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join("Cargo.toml");
    // What this platform needs has been fetched to build this test; what others need may not be there.
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let about = String::from_utf8(rustc.stdout).unwrap();
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline", "--all-features"])
        .args(["--filter-platform", host, "--manifest-path"])
        .arg(manifest)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}
