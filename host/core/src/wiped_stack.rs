//! Computing with secrets without leaving copies of them on the stack.
//!
//! A type that wipes itself when it is dropped wipes one place. Before that it may have been moved, which copies it, and the
//! libraries beneath copy what they compute with. So what computes with a secret runs in frames of its own, which are
//! overwritten when it returns; what it returns keeps its secrets on the heap.

use std::hint::black_box;

use zeroize::Zeroize;

/// More than the frames of a key agreement take, in a debug build too.
const WIPED_BYTES: usize = 64 << 10;

/// Runs `compute` and overwrites the stack that it used, also when it panics. The secrets in what it returns must be on the heap.
pub fn on_wiped_stack<T>(compute: impl FnOnce() -> T) -> T {
    let _wipe = WipeOnDrop;
    in_own_frame(compute)
}

struct WipeOnDrop;

impl Drop for WipeOnDrop {
    fn drop(&mut self) {
        wipe();
    }
}

// Neither is inlined: both frames begin at about the same address, so that the second one covers the first. `black_box` keeps the
// compiler from leaving out what nobody reads.
#[inline(never)]
fn in_own_frame<T>(compute: impl FnOnce() -> T) -> T {
    black_box(compute())
}

#[inline(never)]
fn wipe() {
    let mut frame = [0_u8; WIPED_BYTES];
    black_box(&mut frame).zeroize();
}
