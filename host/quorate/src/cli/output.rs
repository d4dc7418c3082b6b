//! The output of the program, and the error of its commands.

use std::error::Error;

/// The error of a command, for people: each cause on a line of its own.
pub(crate) type CliError = Box<dyn Error + Send + Sync>;

/// Prints an error and its causes to standard error.
#[allow(clippy::print_stderr)]
pub(super) fn complain(error: &(dyn Error + Send + Sync)) {
    eprintln!("quorate: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
}

/// Prints a line that was asked for.
#[allow(clippy::print_stdout)]
pub(crate) fn print(line: &str) {
    println!("{}", line.trim_end());
}
