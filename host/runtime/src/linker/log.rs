//! Binds the import `log` of a component: writes log lines with codes.

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::bindings::quorate::party::log::Level;
use crate::capabilities::log::{LogLevel, LogState};
use crate::host_state::{HostCall, Provides};

pub(super) fn add_to<T: Provides<LogState>>(interface: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    interface.func_wrap(
        "emit",
        |mut store: StoreContextMut<'_, T>, (level, code, message): (Level, u16, String)| {
            let HostCall { calls, capability } = store.data_mut().host_call();
            calls.charge(message.len())?;
            let level = match level {
                Level::Debug => LogLevel::Debug,
                Level::Info => LogLevel::Info,
                Level::Warn => LogLevel::Warn,
                Level::Error => LogLevel::Error,
            };
            capability.emit(level, code, message);
            Ok(())
        },
    )
}
