//! Randomness from the operating system, for native tests and benchmarks.

use crate::Error;

pub(crate) fn fill(dest: &mut [u8]) -> Result<(), Error> {
    os_random::fill(dest).map_err(|_| Error)
}
