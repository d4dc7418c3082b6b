//! `.env` as compose and Quorate read it alike: lines `NAME=value` without quotes, spaces or substitutions.

use std::collections::BTreeMap;
use std::path::Path;

use zeroize::Zeroizing;

use super::finding::Finding;

/// The most bytes that are read of a file: settings are a few kilobytes.
const MAX_ENV_FILE_BYTES: u64 = 1 << 20;

/// The settings of a `.env` file.
pub(super) struct EnvFile {
    values: BTreeMap<String, Zeroizing<String>>,
}

impl EnvFile {
    /// Reads the file of a deployment.
    ///
    /// # Errors
    /// A finding, when the file is missing or can't be read, or when compose would read it differently.
    pub(super) fn read(path: &Path) -> Result<Self, Finding> {
        let bytes = match read_bounded(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let remedy = "run ./deploy.sh init; if there was one, restore it from a backup";
                return Err(Finding::refused("there is no .env", remedy));
            }
            Err(error) => {
                let remedy = "run this as the user who ran init, or as root";
                return Err(Finding::refused(format!(".env can't be read: {error}"), remedy));
            }
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| {
            let remedy = "save it as UTF-8, which compose reads; a comment may be the cause";
            Finding::refused(".env is not in UTF-8", remedy)
        })?;
        Self::parse(text)
    }

    fn parse(text: &str) -> Result<Self, Finding> {
        let mut values = BTreeMap::new();
        for (index, line) in text.split('\n').enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = setting(line).ok_or_else(|| malformed(index + 1, line))?;
            if values.insert(name.to_owned(), Zeroizing::new(value.to_owned())).is_some() {
                return Err(Finding::refused(
                    format!("{name} stands in .env twice"),
                    "remove one of the two lines",
                ));
            }
        }
        Ok(Self { values })
    }

    /// A setting that is there and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The names of all settings, those too that are empty.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

/// Reads a file whole.
pub(super) fn read_bounded(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    use std::io::Read;
    let mut bytes = Zeroizing::new(vec![]);
    std::fs::File::open(path)?.take(MAX_ENV_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_ENV_FILE_BYTES {
        return Err(std::io::Error::other("the file is too long"));
    }
    Ok(bytes)
}

fn setting(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let is_name = starts_well && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is_plain = !value.contains(|character: char| {
        character.is_whitespace()
            || character.is_control()
            || matches!(character, '"' | '\'' | '\\' | '$' | '#' | '`')
    });
    (is_name && is_plain).then_some((name, value))
}

/// The line may hold a secret: only text that looks like the name of a setting is shown.
fn malformed(number: usize, line: &str) -> Finding {
    let name = line.split_once('=').map(|(name, _)| name.trim_end()).filter(|name| {
        name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    });
    let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
    Finding::refused(
        format!("line {number} of .env is not NAME=value{name}"),
        "take out spaces, quotes, `$`, line ends of Windows, and comments behind a value",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        EnvFile::parse(text).err().unwrap().what
    }

    #[test]
    fn lines_are_settings_or_comments() {
        let file = EnvFile::parse("# a comment with = and \"quotes\"\n\nA=1\nEMPTY=\n_b2=x=y\n").unwrap();
        assert_eq!((file.get("A"), file.get("EMPTY"), file.get("_b2")), (Some("1"), None, Some("x=y")));
        assert_eq!(file.names().collect::<Vec<_>>(), ["A", "EMPTY", "_b2"]);
    }

    #[test]
    fn lines_that_compose_would_read_differently_are_refused_without_their_values() {
        for (line, wanted) in [
            ("KEY=\"quoted\"", "line 2 of .env is not NAME=value (KEY)"),
            ("KEY = spaced", "line 2 of .env is not NAME=value (KEY)"),
            ("KEY=value # comment", "line 2 of .env is not NAME=value (KEY)"),
            ("KEY=value\r", "line 2 of .env is not NAME=value (KEY)"),
            ("KEY=$OTHER", "line 2 of .env is not NAME=value (KEY)"),
            ("no setting", "line 2 of .env is not NAME=value"),
            (" KEY=1", "line 2 of .env is not NAME=value"),
            ("export KEY=1", "line 2 of .env is not NAME=value"),
            ("1KEY=1", "line 2 of .env is not NAME=value"),
        ] {
            assert_eq!(refused(&format!("# first\n{line}\n")), wanted, "{line}");
        }
        assert_eq!(refused("A=1\nA=2\n"), "A stands in .env twice");
    }

    #[test]
    fn a_file_that_is_missing_or_no_text_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        let refused = || EnvFile::read(&path).err().unwrap().what;
        assert_eq!(refused(), "there is no .env");
        std::fs::write(&path, b"# caf\xe9\n").unwrap();
        assert_eq!(refused(), ".env is not in UTF-8");
        std::fs::write(&path, "#".repeat(2 << 20)).unwrap();
        assert_eq!(refused(), ".env can't be read: the file is too long");
        std::fs::write(&path, "# caf\u{e9}\n").unwrap();
        assert!(EnvFile::read(&path).is_ok());
    }
}
