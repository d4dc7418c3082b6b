//! Binds the import `log` of a component: writes log lines with codes.

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::bindings::quorate::party::log::Level;
use crate::capabilities::log::LogLevel;
use crate::host_state::HostState;

pub(super) fn add_to(interface: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
    interface.func_wrap(
        "emit",
        |mut store: StoreContextMut<'_, HostState>, (level, code, message): (Level, u32, String)| {
            let state = store.data_mut();
            state.charge(message.len())?;
            let level = match level {
                Level::Debug => LogLevel::Debug,
                Level::Info => LogLevel::Info,
                Level::Warn => LogLevel::Warn,
                Level::Error => LogLevel::Error,
            };
            state.log.emit(level, code, message);
            Ok(())
        },
    )
}
