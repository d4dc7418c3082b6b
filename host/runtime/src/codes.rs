//! The codes by which a component tells why it failed. In production nothing else of what it says is passed on.

use std::sync::Arc;

use crate::text::sanitize;

/// The most codes that a plugin lists.
const MAX_CODES: usize = 256;

/// Whether the texts that a component writes are kept: in its log lines and in its failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginText {
    /// In development.
    Recorded,
    /// In production: a text could carry anything.
    Discarded,
}

/// The codes that a plugin lists, ascending. Clones share them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginCodes(Arc<[u16]>);

/// A code of a component, as its descriptor makes it known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginCode {
    /// It says no more than the kind of the failure.
    None,
    /// One that the descriptor lists.
    Listed(u16),
    /// One that it does not list: the number could carry anything.
    Unlisted,
}

/// What a component says beside the kind of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Its code.
    pub code: PluginCode,
    /// Its text; empty in production.
    text: String,
}

impl PluginCodes {
    /// These codes; `None` unless they ascend within 1..=65534 and are at most 256.
    pub(crate) fn new(codes: Vec<u16>) -> Option<Self> {
        let inside = codes.iter().all(|code| (1..u16::MAX).contains(code));
        let ascending = codes.is_sorted_by(|a, b| a < b);
        (inside && ascending && codes.len() <= MAX_CODES).then(|| Self(codes.into()))
    }

    pub(crate) fn known(&self, code: u16) -> PluginCode {
        match code {
            0 => PluginCode::None,
            code if self.0.binary_search(&code).is_ok() => PluginCode::Listed(code),
            _ => PluginCode::Unlisted,
        }
    }
}

impl PluginCode {
    /// The number under which a report tells it.
    #[must_use]
    pub fn number(self) -> Option<u16> {
        match self {
            Self::None => None,
            Self::Listed(code) => Some(code),
            Self::Unlisted => Some(quorate_core::report::UNLISTED_PLUGIN_CODE),
        }
    }
}

impl std::fmt::Display for PluginCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Listed(code) => code.fmt(f),
            Self::Unlisted => f.write_str("unlisted"),
        }
    }
}

impl Detail {
    pub(crate) fn new(code: PluginCode, text: &str, texts: PluginText) -> Self {
        let text = match texts {
            PluginText::Recorded => sanitize(text),
            PluginText::Discarded => String::new(),
        };
        Self { code, text }
    }
}

impl std::fmt::Display for Detail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.text.as_str() {
            "" => write!(f, "plugin code {}", self.code),
            text => write!(f, "{text} (plugin code {})", self.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_a_short_ascending_list_without_the_two_that_are_ours() {
        assert!(PluginCodes::new(vec![]).is_some() && PluginCodes::new((1..=256).collect()).is_some());
        for bad in [vec![0], vec![u16::MAX], vec![2, 1], vec![1, 1], (1..=257).collect()] {
            assert_eq!(PluginCodes::new(bad.clone()), None, "{bad:?}");
        }
    }

    #[test]
    fn in_production_nothing_is_told_but_a_listed_code() {
        let codes = PluginCodes::new(vec![7]).unwrap();
        let told = |code, texts| {
            let detail = Detail::new(codes.known(code), "a part\nof a share", texts);
            (detail.to_string(), detail.code.number())
        };
        for (code, shown, number) in [(0, "none", None), (7, "7", Some(7)), (8, "unlisted", Some(u16::MAX))] {
            assert_eq!(told(code, PluginText::Discarded), (format!("plugin code {shown}"), number));
            let text = format!("a part of a share (plugin code {shown})");
            assert_eq!(told(code, PluginText::Recorded), (text, number));
        }
    }
}
