//! The `quorate` program.

use std::process::ExitCode;

/// Sessions allocate and free hundreds of kilobytes on several threads. The system's allocator has an arena for each of
/// them and keeps what is freed: resident memory then grows with the number of sessions (`make bench BENCH=memory`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    quorate::cli::main()
}
