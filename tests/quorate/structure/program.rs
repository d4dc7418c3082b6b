//! Tests run the program that the sources make, and no older one.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use quorate_tests::single_process::newer_source;

#[test]
fn a_program_that_is_older_than_its_sources_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let [source, program, list] = ["lib.rs", "quorate", "quorate.d"].map(|name| folder.path().join(name));
    std::fs::write(&source, "").unwrap();
    std::fs::write(&program, "").unwrap();
    std::fs::write(&list, format!("{}: {}\n", program.display(), source.display())).unwrap();
    let at = |path: &Path, time| {
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    };
    let built = SystemTime::now();
    at(&program, built);
    at(&source, built - Duration::from_secs(1));
    assert_eq!(newer_source(&program), None);
    at(&source, built + Duration::from_secs(1));
    assert_eq!(newer_source(&program), Some(source));
}
