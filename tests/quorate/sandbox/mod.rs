//! Components in the sandbox.

mod compile_cache;
mod dkls23;
mod loading;
mod misbehaving_plugins;
mod other_protocols;
mod wipe;
