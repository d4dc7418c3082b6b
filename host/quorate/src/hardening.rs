//! Hardens the process before it reads a secret: no core dumps, no debugger attaches, and what it writes is its owner's alone.

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask};

/// Turns core dumps off, and makes what the process writes readable for its own user alone.
///
/// # Errors
/// When the system does not let us.
pub fn harden() -> std::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    umask(Mode::RWXG | Mode::RWXO);
    Ok(())
}
