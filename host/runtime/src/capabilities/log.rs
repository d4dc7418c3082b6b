//! Log lines of a component. In production only their codes are kept: a text could carry anything.

use quorate_core::PartyIndex;
use zeroize::Zeroize;

use crate::codes::{PluginCodes, PluginText};
use crate::limits;
use crate::text::sanitize_to;

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// The log as one session has it.
pub(crate) struct LogState {
    texts: PluginText,
    codes: PluginCodes,
    plugin: String,
    party: PartyIndex,
    lines: u32,
}

impl LogState {
    pub(crate) fn new(texts: PluginText, codes: PluginCodes, plugin: &str, party: PartyIndex) -> Self {
        Self { texts, codes, plugin: plugin.into(), party, lines: 0 }
    }

    /// Records a line; those beyond [`limits::MAX_LOG_LINES`] are dropped.
    pub(crate) fn emit(&mut self, level: LogLevel, code: u16, mut message: String) {
        self.lines = self.lines.saturating_add(1);
        if self.lines > limits::MAX_LOG_LINES {
            return;
        }
        let code = self.codes.known(code).to_string();
        let text = match self.texts {
            PluginText::Recorded => sanitize_to(&message, limits::MAX_LOG_LINE_CHARS),
            PluginText::Discarded => String::new(),
        };
        message.zeroize();
        let (plugin, party) = (self.plugin.as_str(), self.party.number());
        match level {
            LogLevel::Debug => tracing::debug!(plugin, party, code, text, "plugin"),
            LogLevel::Info => tracing::info!(plugin, party, code, text, "plugin"),
            LogLevel::Warn => tracing::warn!(plugin, party, code, text, "plugin"),
            LogLevel::Error => tracing::error!(plugin, party, code, text, "plugin"),
        }
    }
}
