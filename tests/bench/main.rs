//! `quorate-bench [PART]`: measures, prints, and writes BENCHMARKS.json and BENCHMARKS.md at the top of the checkout.
//! Parts that are not run keep the figures of their last run.

// Futures of whole deployments are nested deeply.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::cast_precision_loss)]

mod background;
mod batches;
mod end_to_end;
mod memory;
mod processes;
mod report;
mod sandbox;
mod schnorr;
mod startup;
mod stats;

use std::process::ExitCode;

use serde_json::Value;

/// A part of the benchmark: its name, and what measures it.
type Part = (&'static str, fn() -> Value);

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1);
    let parts: [Part; 8] = [
        ("sandbox", sandbox::measure),
        ("end-to-end", end_to_end::measure),
        ("schnorr", schnorr::measure),
        ("batches", batches::measure),
        ("processes", processes::measure),
        ("background", background::measure),
        ("startup", startup::measure),
        ("memory", memory::measure),
    ];
    let chosen: Vec<_> =
        parts.iter().filter(|(name, _)| wanted.as_deref().is_none_or(|w| w == *name)).collect();
    if chosen.is_empty() {
        eprintln!("no such part; there are: {}", parts.map(|(name, _)| name).join(", "));
        return ExitCode::from(2);
    }
    for (name, measure) in chosen {
        println!("measuring {name}");
        report::record(name, &measure());
    }
    ExitCode::SUCCESS
}

/// Runs async measurements.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(work)
}
