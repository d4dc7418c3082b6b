//! `docs/trust-model.md` names tests, guards and files that exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A clause of the trust model, as a row of a table.
struct Clause {
    number: String,
    files: Vec<String>,
    proofs: Vec<String>,
    is_open: bool,
}

fn clauses() -> Vec<Clause> {
    let text = std::fs::read_to_string(top().join("docs/trust-model.md")).unwrap();
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let clause = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.split(" | ").collect();
        let number = cells[0].split(' ').next()?;
        let is_clause = number.split('.').count() == 2 && number.starts_with(|c: char| c.is_ascii_digit());
        is_clause.then(|| Clause {
            number: number.into(),
            files: quoted(cells[1]),
            proofs: quoted(cells[2]),
            is_open: cells[2].contains("not yet"),
        })
    };
    text.lines().filter_map(clause).collect()
}

/// The names of all tests of the repository.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut open: Vec<PathBuf> =
        ["host", "plugins", "tests", "proto"].iter().map(|folder| top().join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let is_suite = path.ends_with("conformance.rs");
                names.extend(tests_in(&std::fs::read_to_string(path).unwrap(), is_suite));
            }
        }
    }
    names
}

/// The tests in a file: functions with the attribute, and those of a suite that several adapters pass.
fn tests_in(text: &str, is_suite: bool) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let name = |(at, line): (usize, &&str)| {
        let (before, after) = line.split_once("fn ")?;
        let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        let is_test = { attributes }.any(|line| line.contains("test]") || line.contains("test("));
        let is_function = before.split(' ').all(|word| !word.contains(['"', '/', '=']));
        (is_function && (is_test || is_suite))
            .then(|| after.split(['(', '<']).next().unwrap_or_default().to_owned())
    };
    lines.iter().enumerate().filter_map(name).collect()
}

#[test]
fn every_clause_that_is_kept_names_a_test_or_says_not_yet() {
    let (clauses, tests) = (clauses(), tests());
    assert!(clauses.len() > 50, "only {} clauses were read", clauses.len());
    for Clause { number, files, proofs, is_open } in &clauses {
        let (guards, named): (Vec<_>, Vec<_>) =
            proofs.iter().partition(|proof| proof.starts_with(|c: char| c.is_ascii_digit()));
        for guard in guards {
            let patch = top().join("tests/guards").join(format!("{guard}.patch"));
            assert!(patch.exists(), "{number}: there is no guard {guard}");
        }
        for test in &named {
            assert!(tests.contains(*test), "{number}: there is no test {test}");
        }
        assert!(*is_open || !named.is_empty(), "{number} names no test");
        assert!(*is_open || !files.is_empty(), "{number} does not say where it is kept");
        for file in files {
            let path = match file.split_once('/') {
                Some(("plugins", _)) => file.clone(),
                Some((name, rest)) => format!("host/{name}/src/{rest}"),
                None => format!("host/{file}"),
            };
            assert!(top().join(&path).exists(), "{number}: there is no {path}");
        }
    }
}

#[test]
fn clauses_are_numbered_without_a_gap() {
    let (mut rule, mut clause) = (1, 0);
    for Clause { number, .. } in clauses() {
        if number == format!("{}.1", rule + 1) {
            (rule, clause) = (rule + 1, 0);
        }
        clause += 1;
        assert_eq!(number, format!("{rule}.{clause}"));
    }
    assert_eq!(rule, 14);
}

/// The patches of `make guards`.
fn guards() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(top().join("tests/guards")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path().canonicalize().unwrap());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "patch")).collect()
}

#[test]
fn every_guard_is_named() {
    let is_guard = |proof: &&String| proof.starts_with(|c: char| c.is_ascii_digit());
    for Clause { number, proofs, .. } in &clauses() {
        let (rule, clause) = number.split_once('.').unwrap();
        for guard in proofs.iter().filter(is_guard) {
            assert!(guard.starts_with(&format!("{rule:0>2}.{clause:0>2}-")), "clause {number}: {guard}");
        }
    }
    let named: BTreeSet<String> = clauses().into_iter().flat_map(|clause| clause.proofs).collect();
    for path in guards() {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(named.contains(&name), "docs/trust-model.md does not name the guard {name}");
    }
}

/// `make guards` builds each of them. Here it shows sooner that the code which a guard changes has changed.
#[test]
fn every_guard_applies() {
    for path in guards() {
        let checked = Command::new("git").args(["apply", "--check"]).arg(&path).current_dir(top()).output();
        let checked = checked.expect("git is not installed");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}
