//! Texts that a component has written, made fit for errors and logs.

use crate::limits;

/// A text of the component, fit for an error or a log.
pub(crate) fn sanitize(text: &str) -> String {
    sanitize_to(text, limits::MAX_FAILURE_CHARS)
}

/// The first `chars` characters of a text, with everything that could break or reorder a line made a space.
pub(crate) fn sanitize_to(text: &str, chars: usize) -> String {
    let breaks_lines = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if breaks_lines(c) { ' ' } else { c }).take(chars).collect()
}
