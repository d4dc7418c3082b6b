//! The output of the demo: progress while it runs, then a table, and with `--json` one object at the end.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::cli::output::{CliError, print};

/// A signed transaction, and all that an outsider needs to verify it.
#[derive(Debug, Serialize)]
pub(super) struct SignedTransaction {
    /// Which step of the demo it was.
    pub(super) step: String,
    pub(super) account_id: String,
    /// The unsigned transaction that was given to the API, in hex.
    pub(super) message: String,
    /// How the parties hashed it.
    pub(super) hash: &'static str,
    /// The API's answer.
    pub(super) signature: Value,
    /// The signed transaction.
    pub(super) raw_transaction: String,
    /// The sender, recovered from the bytes of the transaction.
    pub(super) sender: String,
    pub(super) chain_id: u64,
}

/// A component that was used.
#[derive(Debug, Serialize)]
pub(super) struct UsedPlugin {
    pub(super) protocol: String,
    pub(super) version: String,
    pub(super) digest: String,
}

/// How long a step took.
#[derive(Debug, Serialize)]
pub(super) struct Timing {
    pub(super) step: String,
    pub(super) milliseconds: f64,
}

/// The whole report.
#[derive(Debug, Default, Serialize)]
pub(super) struct DemoReport {
    /// The account after its creation, and after its refresh.
    pub(super) accounts: Vec<Value>,
    pub(super) plugins: Vec<UsedPlugin>,
    pub(super) transactions: Vec<SignedTransaction>,
    pub(super) timings: Vec<Timing>,
    /// Whether every signature was verified; there is no report otherwise.
    pub(super) verified: bool,
}

/// Tells of the demo's progress: to standard output, or with `--json` to standard error.
#[derive(Clone, Copy)]
pub(super) struct DemoOutput {
    pub(super) json: bool,
}

impl DemoOutput {
    #[allow(clippy::print_stderr)]
    pub(super) fn say(self, line: &str) -> Result<(), CliError> {
        if self.json {
            eprintln!("{line}");
            return Ok(());
        }
        print(line)
    }

    pub(super) fn finish(self, report: &DemoReport) -> Result<(), CliError> {
        if self.json {
            return print(&serde_json::to_string_pretty(report)?);
        }
        print("\n  step                                   ms")?;
        print("  ---------------------------------  ------")?;
        for Timing { step, milliseconds } in &report.timings {
            print(&format!("  {step:<33}  {milliseconds:>6.0}"))?;
        }
        if cfg!(debug_assertions) {
            print(
                "\nThese are times of a development build, each request with its HTTP call. BENCHMARKS.md has those of a release \
                 build, and `make bench` measures them here.",
            )?;
        }
        print("\nEvery signature verified; every sender is the account's address.")
    }
}

impl DemoReport {
    pub(super) fn timing(&mut self, step: &str, took: Duration) {
        let milliseconds = (took.as_secs_f64() * 1e5).round() / 1e2;
        self.timings.push(Timing { step: step.into(), milliseconds });
    }
}
