//! What tests of adapters share: the servers that they run against.

use std::sync::atomic::{AtomicU32, Ordering};

/// The address of a server. `make test` starts servers of its own and names them.
pub(crate) fn service(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run `make test`, or tests/services.sh COMMAND"))
}

/// A name that no other test uses, of this run or of another one.
pub(crate) fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    format!("quorate_{}_{nanos}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
