//! The output of the program, and the error of its commands.

use std::error::Error;
use std::io::{ErrorKind, Write};

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
///
/// # Errors
/// Standard output can't be written. A reader that has closed it, as `head` does, has read enough: that is no error.
pub(crate) fn print(line: &str) -> Result<(), CliError> {
    print_to(&mut std::io::stdout().lock(), line)
}

fn print_to(output: &mut impl Write, line: &str) -> Result<(), CliError> {
    match writeln!(output, "{}", line.trim_end()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}").into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_may_leave_and_a_full_disk_is_an_error() {
        print_to(&mut Broken(ErrorKind::BrokenPipe), "line").unwrap();
        print_to(&mut Broken(ErrorKind::StorageFull), "line").unwrap_err();
        let mut written = Vec::new();
        print_to(&mut written, "two\nlines\n\n").unwrap();
        assert_eq!(written, b"two\nlines\n");
    }
}
