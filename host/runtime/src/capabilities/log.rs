//! Log lines of a component. In production only their codes are kept: a text could carry anything.

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;
use zeroize::Zeroize;

use crate::bindings::quorate::party::log::Level;
use crate::limits;
use crate::output::tame_to as tame;
use crate::session::HostState;

/// Whether log texts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texts {
    /// In development.
    Kept,
    /// In production.
    Dropped,
}

pub(super) fn add_to(interface: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
    interface.func_wrap(
        "emit",
        |mut store: StoreContextMut<'_, HostState>, (level, code, mut message): (Level, u32, String)| {
            let state = store.data_mut();
            state.charge(message.len())?;
            state.log_lines = state.log_lines.saturating_add(1);
            if state.log_lines > limits::LOG_LINES {
                return Ok(());
            }
            let text: String = match state.capabilities.log {
                Texts::Kept => tame(&message, limits::LOG_LINE_CHARS),
                Texts::Dropped => String::new(),
            };
            message.zeroize();
            let (plugin, party) = (state.plugin.as_str(), state.party.number());
            match level {
                Level::Debug => tracing::debug!(plugin, party, code, text, "plugin"),
                Level::Info => tracing::info!(plugin, party, code, text, "plugin"),
                Level::Warn => tracing::warn!(plugin, party, code, text, "plugin"),
                Level::Error => tracing::error!(plugin, party, code, text, "plugin"),
            }
            Ok(())
        },
    )
}
