//! Components in the sandbox.

mod batches;
mod cggmp24;
mod compile_cache;
mod dkls23;
mod frost;
mod hashing;
mod loading;
mod misbehaving_plugins;
mod wipe;
