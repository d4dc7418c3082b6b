//! Linear memories that are overwritten with zeros when a session is over.
//!
//! A freed memory is wiped and then kept for the next session of the same size: faulting in fresh pages costs more
//! than wiping warm ones. So the wipe is what keeps one session's share from the next, and is tested as such
//! (tests/quorate/sandbox/wipe.rs). Kept are at most [`MAX_POOLED_MEMORIES`] memories with at most
//! [`MAX_POOLED_BYTES`] each.
//!
//! A memory never moves: its whole reservation is made at once and growth only makes more of it accessible.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

/// Memories kept for reuse: more than run at a time on a machine of the size that hosts a party.
const MAX_POOLED_MEMORIES: usize = 32;

/// A memory that grew larger is given back to the operating system instead: signing needs 2 to 4 MiB.
const MAX_POOLED_BYTES: usize = 16 << 20;

/// Makes linear memories. Clones share the kept ones.
#[derive(Clone, Default)]
pub(crate) struct WipedMemories {
    kept: Arc<Mutex<Vec<Mapping>>>,
}

// SAFETY: `new_memory` gives zero-filled memory of `minimum` accessible bytes with `reserved + guard` bytes reserved
// behind its base, all inaccessible past the accessible ones, owned by the returned value alone.
unsafe impl MemoryCreator for WipedMemories {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let capacity = reserved.or(maximum).unwrap_or(minimum).max(minimum);
        let length = capacity.checked_add(guard).ok_or("a memory larger than the address space")?;
        let mut mapping = match self.reuse(length) {
            Some(mapping) => mapping,
            None => Mapping::reserve(length).map_err(|e| format!("reserving memory: {e}"))?,
        };
        mapping.set_accessible(minimum).map_err(|e| format!("making memory accessible: {e}"))?;
        Ok(Box::new(Wiped { mapping: Some(mapping), size: minimum, capacity, home: self.clone() }))
    }
}

impl WipedMemories {
    fn reuse(&self, length: usize) -> Option<Mapping> {
        let mut kept = self.kept.lock();
        let position = kept.iter().position(|mapping| mapping.length == length + GUARD_BYTES)?;
        Some(kept.swap_remove(position))
    }

    /// Keeps a wiped mapping, or lets it go.
    fn keep(&self, mapping: Mapping) {
        let mut kept = self.kept.lock();
        if kept.len() < MAX_POOLED_MEMORIES && mapping.accessible <= MAX_POOLED_BYTES {
            kept.push(mapping);
        }
    }
}

/// A linear memory of one session.
struct Wiped {
    /// There until dropped.
    mapping: Option<Mapping>,
    size: usize,
    capacity: usize,
    home: WipedMemories,
}

// SAFETY: base and capacity never change, `size` bytes from the base are accessible, and nobody else has the
// mapping while this value lives.
unsafe impl LinearMemory for Wiped {
    fn byte_size(&self) -> usize {
        self.size
    }

    fn byte_capacity(&self) -> usize {
        self.capacity
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        if new_size > self.capacity {
            return Err(wasmtime::Error::msg("a linear memory never moves"));
        }
        if let Some(mapping) = &mut self.mapping {
            mapping.set_accessible(new_size)?;
        }
        self.size = new_size;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.mapping.as_ref().map_or(std::ptr::null_mut(), |m| m.base.as_ptr().cast())
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        if let Some(mut mapping) = self.mapping.take() {
            mapping.wipe();
            self.home.keep(mapping);
        }
    }
}

/// A reservation of address space: a guard, then the memory, whose first `accessible` bytes can be read and written,
/// then whatever else was reserved behind it.
struct Mapping {
    start: NonNull<c_void>,
    base: NonNull<c_void>,
    length: usize,
    accessible: usize,
}

/// Inaccessible bytes before a memory, against a miscompiled access below its start. wasmtime's own memories have the
/// same in front.
const GUARD_BYTES: usize = 32 << 20;

// SAFETY: the mapping is plain memory that this value owns.
unsafe impl Send for Mapping {}
// SAFETY: as above; through `&Mapping` nothing is read or written.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn reserve(length: usize) -> rustix::io::Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let length = length.checked_add(GUARD_BYTES).ok_or(rustix::io::Errno::NOMEM)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing one.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::empty(), flags)? };
        let start = NonNull::new(start).ok_or(rustix::io::Errno::NOMEM)?;
        // SAFETY: the guard lies within the mapping, so the result is in the same allocation and not null.
        let base = unsafe { start.byte_add(GUARD_BYTES) };
        let mapping = Self { start, base, length, accessible: 0 };
        // SAFETY: the whole mapping is ours; the advice only keeps it out of core dumps.
        unsafe { madvise(start.as_ptr(), length, Advice::LinuxDontDump)? };
        Ok(mapping)
    }

    /// Makes exactly the first `size` bytes accessible. wasmtime asks for whole WebAssembly pages.
    fn set_accessible(&mut self, size: usize) -> rustix::io::Result<()> {
        let (from, to, flags) = if size >= self.accessible {
            (self.accessible, size, MprotectFlags::READ | MprotectFlags::WRITE)
        } else {
            (size, self.accessible, MprotectFlags::empty())
        };
        if from < to {
            // SAFETY: `from..to` lies within this mapping, and what is made inaccessible is used by nobody: the
            // memory that used it has been dropped.
            unsafe { mprotect(self.base.as_ptr().byte_add(from), to - from, flags)? };
        }
        self.accessible = size;
        Ok(())
    }

    /// Overwrites everything accessible with zeros.
    fn wipe(&mut self) {
        // SAFETY: the first `accessible` bytes are readable and writable and belong to this value alone.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().cast::<u8>(), self.accessible) };
        bytes.fill(0);
        // The mapping is read by its next user or by nobody; either way the compiler may not drop the writes.
        std::hint::black_box(bytes);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing points into it any more.
        // An error would mean that it is not mapped, and there is nothing to do about that.
        let _ = unsafe { munmap(self.start.as_ptr(), self.length) };
    }
}
