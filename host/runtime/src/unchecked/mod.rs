//! The one place with unsafe code: memory that is wiped, and compiled code that is loaded.

mod compiled;
mod memory;

pub(crate) use compiled::load_authenticated;
pub(crate) use memory::WipedMemories;
