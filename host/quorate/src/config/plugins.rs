//! Which plugins a process works with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quorate_core::Digest;
use quorate_core::order::Version;
use quorate_runtime::{Capability, Grants};
use sha2::{Digest as _, Sha256};

use super::ConfigError;
use super::read::Variables;

/// The oldest version of each protocol's plugin, by the protocol's name.
pub type MinimumPlugins = BTreeMap<String, Version>;

/// The component that a process can't do without.
const DEFAULT_COMPONENT: &str = "dkls23.wasm";

/// The other components of this project, which are used if they are built.
const OTHER_COMPONENTS: [&str; 2] = ["frost-ed25519.wasm", "frost-secp256k1-tr.wasm"];

/// This project's components in a folder. `dkls23.wasm` is listed even if it is absent, so that the process fails at its start and
/// names the file.
pub(super) fn components_in(folder: &Path) -> Vec<PathBuf> {
    let others = OTHER_COMPONENTS.iter().map(|name| folder.join(name)).filter(|file| file.exists());
    std::iter::once(folder.join(DEFAULT_COMPONENT)).chain(others).collect()
}

/// Which plugins a process works with; by default all.
#[derive(Clone, Debug, Default)]
pub struct PluginsConfig {
    /// `QUORATE_PLUGIN_DIGESTS`: SHA-256 of the components that a party loads, separated by commas. Empty: it loads all of
    /// `QUORATE_PLUGIN_FILES`.
    pub digests: Vec<Digest>,
    /// `QUORATE_MINIMUM_PLUGIN`: `dkls23=0.2.0`, separated by commas. A party runs nothing older; an account service
    /// asks for nothing older.
    pub minimum: MinimumPlugins,
    /// `QUORATE_PLUGIN_GRANTS`: `cggmp24=cache+bus`, separated by commas: what the plugins of a protocol may use at a party besides
    /// vault, entropy, hash and log.
    pub grants: Grants,
}

impl PluginsConfig {
    pub(super) fn read(variables: &mut Variables) -> Result<Self, ConfigError> {
        let digests = "SHA-256 hashes of 64 hex characters, with commas between";
        let name = "QUORATE_MINIMUM_PLUGIN";
        let wanted = "protocols with their oldest versions, like dkls23=0.2.0, with commas between";
        let entries = variables.list(name, wanted, minimum)?;
        let count = entries.len();
        let minimum: MinimumPlugins = entries.into_iter().collect();
        if minimum.len() < count {
            return Err(ConfigError::Invalid { name, wanted: "each protocol once" });
        }
        let wanted = "protocols with cache, bus or both, like cggmp24=cache+bus, with commas between";
        let granted = variables.list("QUORATE_PLUGIN_GRANTS", wanted, grant)?;
        let and_to = |grants: Grants, (protocol, capabilities): (String, Vec<Capability>)| {
            grants.and_to(&protocol, &capabilities)
        };
        Ok(Self {
            digests: variables.list("QUORATE_PLUGIN_DIGESTS", digests, |text| text.parse().ok())?,
            minimum,
            grants: granted.into_iter().fold(Grants::default(), and_to),
        })
    }

    /// Checks that a component may be loaded.
    ///
    /// # Errors
    /// When it is not among the digests that are configured.
    pub fn check(&self, path: &Path, component: &[u8]) -> Result<(), PluginNotAllowed> {
        let digest = Digest(Sha256::digest(component).into());
        if self.digests.is_empty() || self.digests.contains(&digest) {
            return Ok(());
        }
        Err(PluginNotAllowed { path: path.to_owned(), digest })
    }
}

/// A component that may not be loaded.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path}: this component has the SHA-256 {digest}, which is not in QUORATE_PLUGIN_DIGESTS: add it there if the file is the \
     right one"
)]
pub struct PluginNotAllowed {
    path: PathBuf,
    digest: Digest,
}

/// The name of a protocol, and what is said of it.
fn of_protocol(text: &str) -> Option<(String, &str)> {
    let (protocol, said) = text.split_once('=')?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_name = !protocol.is_empty() && protocol.chars().all(plain);
    is_name.then(|| (protocol.to_owned(), said))
}

fn minimum(text: &str) -> Option<(String, Version)> {
    let (protocol, version) = of_protocol(text)?;
    Some((protocol, version.parse().ok()?))
}

fn grant(text: &str) -> Option<(String, Vec<Capability>)> {
    let (protocol, names) = of_protocol(text)?;
    let capability = |name: &str| match name {
        "cache" => Some(Capability::Cache),
        "bus" => Some(Capability::Bus),
        _ => None,
    };
    Some((protocol, names.split('+').map(capability).collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dkls23_is_always_listed_and_other_components_where_they_exist() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        assert_eq!(components_in(folder.path()), [file("dkls23.wasm")]);
        std::fs::write(file("frost-secp256k1-tr.wasm"), []).unwrap();
        let both = [file("dkls23.wasm"), file("frost-secp256k1-tr.wasm")];
        assert_eq!(components_in(folder.path()), both);
    }

    #[test]
    fn nothing_but_the_configured_digests_is_loaded() {
        let digest = Digest(Sha256::digest(b"component").into());
        let pinned = PluginsConfig { digests: vec![Digest([1; 32]), digest], ..PluginsConfig::default() };
        let path = Path::new("dkls23.wasm");
        assert!(pinned.check(path, b"component").is_ok());
        let refused = pinned.check(path, b"another").unwrap_err().to_string();
        assert!(refused.contains("dkls23.wasm") && refused.contains("QUORATE_PLUGIN_DIGESTS"), "{refused}");
        assert!(PluginsConfig::default().check(path, b"another").is_ok());
    }

    #[test]
    fn a_grant_is_a_protocol_and_capabilities_that_need_one() {
        assert_eq!(grant("cggmp24=cache"), Some(("cggmp24".into(), vec![Capability::Cache])));
        let both = vec![Capability::Cache, Capability::Bus];
        assert_eq!(grant("cggmp24=cache+bus"), Some(("cggmp24".into(), both)));
        for text in ["", "cggmp24", "=cache", "cggmp24=", "cggmp24=vault", "cggmp24=cache+", "CGGMP=cache"] {
            assert_eq!(grant(text), None, "{text}");
        }
    }

    #[test]
    fn a_minimum_is_a_protocol_and_a_version() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert_eq!(minimum("dkls23=0.2.0"), Some(("dkls23".into(), version("0.2.0"))));
        for text in ["", "dkls23", "=0.2.0", "dkls23=", "dkls23=2", "DKLS=0.2.0"] {
            assert_eq!(minimum(text), None, "{text}");
        }
    }
}
