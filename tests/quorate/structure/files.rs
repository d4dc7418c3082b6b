//! How long files and functions are, and that no files import each other in a circle. Measured is what ships: a file
//! up to its tests. Formatting is checked elsewhere, so a function ends at the brace that is indented as its first
//! line. Generated code is not measured.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The longest file, in lines.
const MAX_FILE_LINES: usize = 400;

/// The most lines that half of the files have.
const MAX_MEDIAN_LINES: usize = 130;

/// The longest function, in lines.
const MAX_FUNCTION_LINES: usize = 70;

/// Plugins that exist for tests.
const TEST_PLUGINS: [&str; 2] = ["faulty", "testkit"];

/// A source file of a crate, up to its tests.
struct Source {
    path: PathBuf,
    /// The module, as a path from the crate's root.
    module: Vec<String>,
    text: String,
}

/// The sources of all crates that ship, by crate.
fn crates() -> Vec<Vec<Source>> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = |folder: &str| -> Vec<PathBuf> {
        std::fs::read_dir(top.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let mut roots = folders("host");
    roots.extend(folders("plugins"));
    roots.push(top.join("proto"));
    let ships = |root: &PathBuf| {
        let name = root.file_name().unwrap().to_str().unwrap();
        root.join("src").is_dir() && !TEST_PLUGINS.contains(&name)
    };
    roots.iter().filter(|root| ships(root)).map(|root| sources(&root.join("src"))).collect()
}

fn sources(root: &Path) -> Vec<Source> {
    let mut all = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("proto/src/generated") {
                // Generated code has the length that its generator gives it.
            } else if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = module_of(path.strip_prefix(root).unwrap());
                all.push(Source { module, text: std::fs::read_to_string(&path).unwrap(), path });
            }
        }
    }
    let tests: BTreeSet<Vec<String>> = all.iter().flat_map(test_modules).collect();
    all.retain(|source| !(1..=source.module.len()).any(|length| tests.contains(&source.module[..length])));
    for source in &mut all {
        let tests = source.text.find("mod tests {").unwrap_or(source.text.len());
        let end = source.text[..tests].rfind("#[cfg(test)]\n").filter(|_| tests < source.text.len());
        source.text.truncate(end.unwrap_or(source.text.len()));
    }
    all
}

fn module_of(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| ["lib", "main", "mod"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// The modules of a file that are there in tests only.
fn test_modules(source: &Source) -> Vec<Vec<String>> {
    let lines: Vec<&str> = source.text.lines().collect();
    let is_test = |pair: &&[&str]| pair[0].trim() == "#[cfg(test)]";
    let name = |pair: &[&str]| Some(pair[1].trim().rsplit_once("mod ")?.1.strip_suffix(';')?.to_owned());
    let names = lines.windows(2).filter(is_test).filter_map(name);
    names.map(|name| [source.module.clone(), vec![name]].concat()).collect()
}

#[test]
fn files_are_short() {
    let crates = crates();
    let files = crates.iter().flatten();
    let mut lengths: Vec<usize> = Vec::new();
    for source in files {
        let length = source.text.lines().count();
        assert!(length <= MAX_FILE_LINES, "{} has {length} lines", source.path.display());
        lengths.push(length);
    }
    assert!(lengths.len() > 150, "only {} files were measured", lengths.len());
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median <= MAX_MEDIAN_LINES, "half of the files have more than {median} lines");
}

/// The functions of a file, with how many lines they have.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let begins = |line: &str| {
        let words = line.trim_start().split("fn ").next()?;
        let modifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe"];
        let (is_function, rest) = (line.contains("fn "), line.trim_start().strip_prefix(words)?);
        let plain = words.split_whitespace().all(|word| modifiers.contains(&word));
        (is_function && plain).then(|| rest.trim_start_matches("fn ").to_owned())
    };
    let mut found = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let Some(name) = begins(line) else { continue };
        let head = lines[first..].iter().position(|line| line.ends_with([';', '{', '}'])).unwrap_or(0);
        let length = match lines[first + head].chars().last() {
            Some('{') => {
                let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
                lines[first..].iter().position(|line| *line == end).unwrap_or(0) + 1
            }
            // A signature without a body, or all in one line.
            _ => head + 1,
        };
        found.push((name, length));
    }
    found
}

#[test]
fn functions_are_short() {
    let crates = crates();
    let mut seen = 0;
    for source in crates.iter().flatten() {
        for (name, length) in functions(&source.text) {
            assert!(length <= MAX_FUNCTION_LINES, "{}: {name} has {length} lines", source.path.display());
            seen += 1;
        }
    }
    assert!(seen > 1_000, "only {seen} functions were measured");
}

/// The paths that a file imports, each with whether it is passed on by `pub use`.
fn imports(text: &str) -> Vec<(Vec<String>, bool)> {
    let mut found = Vec::new();
    for part in text.split('\n').collect::<Vec<_>>().join(" ").split(';') {
        let Some((before, path)) = part.rsplit_once("use ") else { continue };
        let word = before.trim_end().rsplit(' ').next().unwrap_or_default();
        let is_export = word.starts_with("pub");
        if !path.contains('"') && !path.contains("//") {
            expand(&path.split_whitespace().collect::<String>(), &[], &mut |path| {
                found.push((path, is_export))
            });
        }
    }
    found
}

/// Writes out `a::{b, c::d}`.
fn expand(path: &str, before: &[String], each: &mut impl FnMut(Vec<String>)) {
    match path.split_once('{') {
        Some((prefix, rest)) if prefix.is_empty() || prefix.ends_with("::") => {
            let inside = rest.strip_suffix('}').unwrap_or(rest);
            let mut before = before.to_vec();
            before.extend(prefix.split("::").filter(|part| !part.is_empty()).map(str::to_owned));
            let mut depth = 0;
            let items = inside.split(|c: char| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                c == ',' && depth == 0
            });
            items.filter(|item| !item.is_empty()).for_each(|item| expand(item, &before, each));
        }
        _ => {
            let parts = path.split("::").filter(|part| *part != "self").map(str::to_owned);
            each([before.to_vec(), parts.collect()].concat());
        }
    }
}

/// A crate's files by module, and the files that each of them takes names from.
struct Imports<'a> {
    files: BTreeMap<&'a [String], &'a Source>,
    /// The names that a module passes on as its own.
    exports: BTreeMap<(Vec<String>, String), Vec<String>>,
}

impl<'a> Imports<'a> {
    fn of(sources: &'a [Source]) -> Self {
        let files = sources.iter().map(|source| (source.module.as_slice(), source)).collect();
        let mut imports = Self { files, exports: BTreeMap::new() };
        for source in sources {
            for (path, _) in imports_of(source).into_iter().filter(|(_, is_export)| *is_export) {
                if let (Some(path), Some(name)) = (absolute(source, &path), path.last()) {
                    imports.exports.insert((source.module.clone(), name.clone()), path);
                }
            }
        }
        imports
    }

    /// The file that defines what a path names.
    fn definition(&self, mut path: Vec<String>) -> Option<&'a [String]> {
        for _ in 0..8 {
            let length = (0..=path.len()).rev().find(|&length| self.files.contains_key(&path[..length]))?;
            let name = path.get(length).cloned().unwrap_or_default();
            match self.exports.get(&(path[..length].to_vec(), name)) {
                Some(target) if *target != path => path = target.clone(),
                _ => return self.files.get_key_value(&path[..length]).map(|(module, _)| *module),
            }
        }
        None
    }

    fn taken_by(&self, source: &Source) -> BTreeSet<&'a [String]> {
        let used = imports_of(source).into_iter().filter(|(_, is_export)| !is_export);
        let used = used.filter_map(|(path, _)| self.definition(absolute(source, &path)?));
        used.filter(|module| *module != source.module.as_slice()).collect()
    }
}

fn imports_of(source: &Source) -> Vec<(Vec<String>, bool)> {
    let mut found = imports(&source.text);
    found.extend(paths(&source.text).into_iter().map(|path| (path, false)));
    found
}

/// The paths that a file writes out where it uses them: `crate::module::function()`, `super::Type`. A file that calls
/// its own child modules does not depend on them as it does on files that it imports: it is their entrance.
fn paths(text: &str) -> Vec<Vec<String>> {
    let code =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '$');
    let words =
        code.split(|c: char| !is_part(c)).filter(|word| word.contains("::") && !word.starts_with(':'));
    let parts = |word: &str| word.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
    words.map(parts).filter(|path: &Vec<String>| ["crate", "super"].contains(&path[0].as_str())).collect()
}

/// A path from the crate's root; `None` for a path into another crate.
fn absolute(source: &Source, path: &[String]) -> Option<Vec<String>> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    if ups > 0 {
        let base = source.module.len().checked_sub(ups)?;
        return Some([&source.module[..base], &path[ups..]].concat());
    }
    if path.first().is_some_and(|part| part == "crate") {
        return Some(path[1..].to_vec());
    }
    // Edition 2018: a child of this module.
    let child = [source.module.clone(), path.to_vec()].concat();
    let declared = format!("mod {};", path.first()?);
    source.text.contains(&declared).then_some(child)
}

/// The files of a circle, if there is one: those that can reach themselves.
fn circle(sources: &[Source]) -> Vec<PathBuf> {
    let imports = Imports::of(sources);
    let taken: BTreeMap<&[String], BTreeSet<&[String]>> =
        sources.iter().map(|source| (source.module.as_slice(), imports.taken_by(source))).collect();
    let reaches_itself = |source: &&Source| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![source.module.as_slice()]);
        while let Some(module) = open.pop() {
            for next in taken.get(module).into_iter().flatten() {
                if *next == source.module.as_slice() {
                    return true;
                }
                if seen.insert(*next) {
                    open.push(next);
                }
            }
        }
        false
    };
    sources.iter().filter(reaches_itself).map(|source| source.path.clone()).collect()
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let circles: Vec<PathBuf> = crates().iter().flat_map(|sources| circle(sources)).collect();
    assert_eq!(circles, Vec::<PathBuf>::new());
}

#[test]
fn a_circle_would_be_seen() {
    let source = |module: &str, text: &str| Source {
        path: module.into(),
        module: module.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        text: text.into(),
    };
    let root = || source("", "mod a;\nmod b;\nmod c;\n\npub use b::B;\n");
    let a = || source("a", "use std::sync::Arc;\n\nuse super::B;\n");
    let circular =
        [root(), a(), source("b", "use crate::c::{self, C};\n"), source("c", "use super::a::{A, X};\n")];
    assert_eq!(circle(&circular), ["a", "b", "c"].map(PathBuf::from));
    let straight = [root(), a(), source("b", "use crate::c::C;\n"), source("c", "use std::fmt;\n")];
    assert_eq!(circle(&straight), Vec::<PathBuf>::new());
    let inline = [
        source("", "mod a;\nmod b;\n"),
        source("a", "pub const Y: u8 = super::b::X;\n"),
        source("b", "pub const X: u8 = 1;\npub const Z: u8 = crate::a::Y;\n// crate::c::Z\n"),
    ];
    assert_eq!(circle(&inline), ["a", "b"].map(PathBuf::from));
    let functions = functions("fn one() {\n    two();\n}\n\npub async fn two() {}\n");
    assert_eq!(functions, [("one() {".to_owned(), 3), ("two() {}".to_owned(), 1)]);
}

/// `quorate deployment` knows the parts of a deployment: the script calls the engine.
#[test]
fn the_deployment_script_is_a_thin_skin() {
    let script = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy.sh")).unwrap();
    assert!(script.lines().count() <= 350, "deploy.sh has {} lines", script.lines().count());
    let longest = script.lines().map(str::len).max().unwrap();
    assert!(longest <= 120, "deploy.sh has a line of {longest} columns");
    for foreign in ["SELECT", "ALTER ", "CREATE ", "openssl", "{\"", "base64", "psql -", "curl "] {
        assert!(!script.contains(foreign), "deploy.sh knows of {foreign}");
    }
}
