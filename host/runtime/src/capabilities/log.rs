//! Log lines of a component. In production only their codes are kept: a text could carry anything.

use std::collections::BTreeSet;

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
    /// The codes that were logged, in production.
    told: BTreeSet<u16>,
}

impl LogState {
    pub(crate) fn new(texts: PluginText, codes: PluginCodes, plugin: &str, party: PartyIndex) -> Self {
        Self { texts, codes, plugin: plugin.into(), party, lines: 0, told: BTreeSet::new() }
    }

    /// Counts a line; false if it is dropped.
    fn admits(&mut self, code: u16) -> bool {
        let (most, is_new) = match self.texts {
            PluginText::Recorded => (limits::MAX_LOG_LINES, true),
            PluginText::Discarded => (limits::MAX_PRODUCTION_LOG_LINES, self.told.insert(code)),
        };
        self.lines = self.lines.saturating_add(u32::from(is_new));
        is_new && self.lines <= most
    }

    /// Records a line; those beyond [`limits::MAX_LOG_LINES`] are dropped. In production only the first few codes are
    /// recorded, each once.
    pub(crate) fn emit(&mut self, level: LogLevel, code: u16, mut message: String) {
        if !self.admits(code) {
            return;
        }
        let code = self.codes.known(code).to_string();
        let (level, text) = match self.texts {
            PluginText::Recorded => (level, sanitize_to(&message, limits::MAX_LOG_LINE_CHARS)),
            // The level is the component's choice too.
            PluginText::Discarded => (LogLevel::Info, String::new()),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The order of many lines with many codes could tell a share.
    #[test]
    fn in_production_a_session_logs_few_codes_and_each_once() {
        let admitted = |texts| {
            let mut log = LogState::new(texts, PluginCodes::default(), "plugin", PartyIndex::FIRST);
            [7, 7, 8, 7, 9, 10, 11, 12].map(|code| log.admits(code))
        };
        let few = [true, false, true, false, true, true, false, false];
        assert_eq!(admitted(PluginText::Discarded), few);
        assert_eq!(admitted(PluginText::Recorded), [true; 8]);
    }
}
