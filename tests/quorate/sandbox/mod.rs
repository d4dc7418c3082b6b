//! Components in the sandbox.

mod batches;
mod compile_cache;
mod dkls23;
mod hashing;
mod loading;
mod misbehaving_plugins;
mod other_protocols;
mod wipe;
