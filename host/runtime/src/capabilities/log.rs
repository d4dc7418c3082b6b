//! Log lines of a component. In production only their codes are kept: a text could carry anything.

use quorate_core::PartyIndex;
use zeroize::Zeroize;

use crate::limits;
use crate::text::sanitize_to;

/// Whether the texts of log lines are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogText {
    /// In development.
    Recorded,
    /// In production.
    Discarded,
}

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
    text: LogText,
    plugin: String,
    party: PartyIndex,
    lines: u32,
}

impl LogState {
    pub(crate) fn new(text: LogText, plugin: &str, party: PartyIndex) -> Self {
        Self { text, plugin: plugin.into(), party, lines: 0 }
    }

    /// Records a line; those beyond [`limits::MAX_LOG_LINES`] are dropped.
    pub(crate) fn emit(&mut self, level: LogLevel, code: u32, mut message: String) {
        self.lines = self.lines.saturating_add(1);
        if self.lines > limits::MAX_LOG_LINES {
            return;
        }
        let text = match self.text {
            LogText::Recorded => sanitize_to(&message, limits::MAX_LOG_LINE_CHARS),
            LogText::Discarded => String::new(),
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
