//! A deployment in a folder of its own, as `init` makes it, for unit tests.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::init::init_in;
use super::settings::DeploymentSettings;

pub(super) struct TestDeployment(tempfile::TempDir);

impl TestDeployment {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let compose = include_str!("../../../../../docker-compose.yml");
        fs::write(folder.path().join("docker-compose.yml"), compose).unwrap();
        init_in(folder.path());
        Self(folder)
    }

    pub(super) fn folder(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn secrets(&self) -> PathBuf {
        self.folder().join("secrets")
    }

    pub(super) fn settings(&self) -> DeploymentSettings {
        DeploymentSettings::read(self.folder()).unwrap()
    }

    /// Gives a setting another value.
    pub(super) fn set(&self, name: &str, value: &str) {
        let path = self.folder().join(".env");
        let text = fs::read_to_string(&path).unwrap();
        let others = text.lines().filter(|line| !line.starts_with(&format!("{name}=")));
        let text: String = others.map(|line| format!("{line}\n")).collect();
        fs::write(path, format!("{text}{name}={value}\n")).unwrap();
    }

    /// Gives a secret another text.
    pub(super) fn write_secret(&self, file: &str, text: &str) {
        let path = self.secrets().join(file);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        fs::write(path, text).unwrap();
    }
}
