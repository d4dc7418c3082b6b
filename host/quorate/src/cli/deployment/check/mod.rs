//! `quorate check`, which is `quorate deployment check`: reads settings as a process that starts would, and says what
//! is wrong with them before anything that runs is stopped for them. With a folder it checks the whole deployment in
//! it. It reaches no service.

mod engine;
mod network;
mod program;
mod secrets;
mod settings;

use std::path::{Path, PathBuf};

use clap::Args;
use quorate_core::identity::SecretKey;
use zeroize::Zeroizing;

use program::{ComponentFiles, check_config, program_settings};
pub(super) use settings::wrong_project_name;

use super::engine_facts::Engine;
use super::finding::{Finding, report};
use super::settings::DeploymentSettings;
use crate::cli::input::read_text;
use crate::cli::output::{CliError, print};
use crate::config::{Config, ConfigError, Seed};

/// The most bytes that are read of the settings: they are a few kilobytes.
const MAX_SETTINGS_BYTES: u64 = 1 << 20;

/// The subject of a check.
#[derive(Args)]
pub(in crate::cli) struct CheckArguments {
    /// Lines NAME=value instead of the environment; `-` is standard input
    file: Option<PathBuf>,
    /// Also that the components of QUORATE_PLUGIN_FILES are here
    #[arg(long)]
    plugins: bool,
    /// Check the deployment in this folder: docker-compose.yml, .env and secrets/
    #[arg(long, conflicts_with = "file")]
    folder: Option<PathBuf>,
    /// Read what deploy.sh tells of the engine from standard input
    #[arg(long, requires = "folder")]
    engine: bool,
    /// Components are elsewhere: do not look for them
    #[arg(long, requires = "folder")]
    no_plugins: bool,
    /// Only PostgreSQL, Redis and RabbitMQ are to be started
    #[arg(long, requires = "folder")]
    infrastructure: bool,
}

/// Fails if a process would refuse the settings, or if the deployment can't start. A setting that a role needs and
/// that is not set, and what only the services can tell, the role finds out.
pub(in crate::cli) fn check(
    environment: Result<Config, ConfigError>,
    arguments: &CheckArguments,
) -> Result<(), CliError> {
    if let Some(folder) = &arguments.folder {
        return report(&check_deployment(folder, arguments)?);
    }
    let components = if arguments.plugins { ComponentFiles::Here } else { ComponentFiles::Elsewhere };
    let config = match &arguments.file {
        None => check_config(environment?, components)?,
        Some(file) => program_settings(lines_of(&text_of(file)?)?, components)?,
    };
    for name in &config.unrecognised {
        print(&format!("{name}: this looks like a setting of Quorate and is not one: it changes nothing"))?;
    }
    show("QUORATE_IDENTITY_KEY", config.roles.identity.as_ref())?;
    show("QUORATE_ORIGINATOR_KEY", config.roles.originator.as_ref())?;
    print(&format!(
        "schemas: account {}, coordinator {}, party {}",
        quorate_control_store::ACCOUNT_SCHEMA.newest(),
        quorate_control_store::COORDINATOR_SCHEMA.newest(),
        quorate_party_store::SCHEMA.newest()
    ))?;
    print("all settings that are set are valid; at its start a role names those that it lacks")
}

fn check_deployment(folder: &Path, arguments: &CheckArguments) -> Result<Vec<Finding>, CliError> {
    let engine = if arguments.engine { Engine::from_stdin()? } else { Engine::default() };
    let mut findings = engine::check_engine(&engine);
    // Files are read by other users than they seem to belong to: what is found in them would mislead.
    if engine::is_remapped(&engine) {
        return Ok(findings);
    }
    match DeploymentSettings::read(folder) {
        Err(finding) => findings.push(finding),
        Ok(deployment) => findings.extend(check_settings(&deployment, &engine, arguments)),
    }
    Ok(findings)
}

fn check_settings(
    deployment: &DeploymentSettings,
    engine: &Engine,
    arguments: &CheckArguments,
) -> Vec<Finding> {
    let components = if arguments.no_plugins { ComponentFiles::Elsewhere } else { ComponentFiles::Here };
    let mut findings = settings::check_names(deployment);
    findings.extend(settings::check_passwords(deployment));
    findings.extend(settings::check_public_keys(deployment));
    findings.extend(settings::check_numbers(deployment));
    findings.extend(settings::check_shell(deployment, engine));
    findings.extend(settings::check_program(deployment, components));
    findings.extend(network::check_publishing(deployment));
    findings.extend(network::check_subnet(deployment, engine));
    findings.extend(secrets::check_secrets(deployment));
    findings.extend(engine::check_data(deployment, engine));
    // PostgreSQL, Redis and RabbitMQ publish no ports.
    if !arguments.infrastructure {
        findings.extend(network::check_ports(deployment, engine));
    }
    findings
}

fn show(name: &str, seed: Option<&Seed>) -> Result<(), CliError> {
    match seed {
        Some(seed) => print(&format!("{name}: public key {}", SecretKey::from_seed(seed).public())),
        None => Ok(()),
    }
}

/// Reads a file, or standard input for `-`.
fn text_of(file: &Path) -> Result<Zeroizing<String>, CliError> {
    let read = match file.as_os_str() == "-" {
        true => read_text(std::io::stdin(), MAX_SETTINGS_BYTES),
        false => std::fs::File::open(file)
            .map_err(CliError::from)
            .and_then(|file| read_text(file, MAX_SETTINGS_BYTES)),
    };
    read.map_err(|error| format!("{}: the settings can't be read: {error}", file.display()).into())
}

/// Reads lines NAME=value. Malformed lines are reported by number only: their content may be a secret.
fn lines_of(text: &str) -> Result<Vec<(String, String)>, CliError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let setting = |(index, line): (usize, &str)| {
        let (name, value) =
            line.split_once('=').ok_or_else(|| format!("line {} is not NAME=value", index + 1))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    lines.map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::deployment::finding::what;
    use crate::cli::deployment::testing::TestDeployment;

    fn found(deployment: &TestDeployment) -> String {
        let folder = Some(deployment.folder().to_owned());
        let arguments = CheckArguments {
            file: None,
            plugins: false,
            folder,
            engine: false,
            no_plugins: true,
            infrastructure: true,
        };
        what(&check_deployment(deployment.folder(), &arguments).unwrap())
    }

    #[test]
    fn a_deployment_of_init_has_no_findings() {
        assert_eq!(found(&TestDeployment::new()), "");
    }

    #[test]
    fn findings_of_settings_and_secrets_are_told_together() {
        let deployment = TestDeployment::new();
        deployment.set("REPLICAS", "3");
        deployment.write_secret("party-1/rabbitmq_password", "short");
        let found = found(&deployment);
        assert!(found.contains("REPLICAS") && found.contains("party-1/rabbitmq_password"), "{found}");
    }

    #[test]
    fn a_file_that_can_not_be_read_is_the_only_finding() {
        let deployment = TestDeployment::new();
        std::fs::remove_file(deployment.folder().join("docker-compose.yml")).unwrap();
        assert!(found(&deployment).starts_with("docker-compose.yml can't be read"));
    }
}
