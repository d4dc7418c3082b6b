//! The `quorate` program.

use std::process::ExitCode;

/// Sessions allocate and free hundreds of kilobytes on several threads: the system's allocator keeps five times as much
/// of it as this one (BENCHMARKS.md, memory).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    quorate::cli::main()
}
