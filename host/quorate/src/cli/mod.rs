//! The command line.

mod admin;
mod client;
mod compile;
mod demo;
mod deployment;
mod healthcheck;
mod input;
mod key;
mod migrate;
mod output;
mod serve;
mod share;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;
use output::{CliError, complain};

/// Threshold signatures with sandboxed, swappable protocols.
#[derive(Parser)]
#[command(name = "quorate", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve one role or several
    Serve(serve::ServeArguments),
    /// Make keys, and show their public sides
    Key(key::KeyArguments),
    /// Seal and open users' shares
    Share(share::ShareArguments),
    /// Do what only an operator may do at a party
    Admin(admin::AdminArguments),
    /// Ask a role on this machine whether it is well
    Healthcheck(healthcheck::HealthcheckArguments),
    /// Read the settings, and say what is wrong with them; `quorate deployment check` is the same
    Check(deployment::check::CheckArguments),
    /// Make, check and try out a deployment with compose
    Deployment(deployment::DeploymentArguments),
    /// Compile components ahead, into QUORATE_DATA
    Compile(compile::CompileArguments),
    /// Bring the schema of a database up to date
    Migrate(migrate::MigrateArguments),
    /// Create an account and sign with it, in one process with throw-away keys
    Demo(demo::DemoArguments),
}

/// Runs the program with the arguments and the environment of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Before the first secret is read.
    let hardened = crate::hardening::harden().map_err(CliError::from);
    quorate_net::tls::install();
    let result = hardened.and_then(|()| {
        // Not every command needs it, and one may be about other settings.
        let config = Config::from_env();
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(threads()).enable_all().build()?;
        runtime.block_on(async {
            match arguments.command {
                Command::Serve(arguments) => serve::serve(config?, arguments).await,
                Command::Key(arguments) => key::key(arguments),
                Command::Admin(arguments) => admin::admin(config?, arguments).await,
                Command::Healthcheck(arguments) => healthcheck::healthcheck(config?, arguments).await,
                Command::Check(arguments) => deployment::check::check(config, &arguments),
                Command::Deployment(arguments) => deployment::deployment(config, &arguments).await,
                Command::Compile(arguments) => compile::compile(&config?, arguments),
                Command::Share(arguments) => share::share(arguments),
                Command::Migrate(arguments) => migrate::migrate(config?, arguments).await,
                Command::Demo(arguments) => demo::demo(config?, arguments).await,
            }
        })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(failure.as_ref());
            ExitCode::FAILURE
        }
    }
}

/// Threads for everything but the sandbox, which has its own: as many as processors would only be in its way.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2)
}
