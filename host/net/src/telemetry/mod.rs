//! The log: what happened, to standard error. Spans carry session, party and round; nothing carries a secret.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// How the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Whether a text says what is to be logged: `info`, or `quorate=debug,warn`. A lone word must be a level: the
/// library takes a misspelt one for the name of a module, and nothing else would be logged.
#[must_use]
pub fn is_filter(text: &str) -> bool {
    let is_level = |part: &str| part.trim().parse::<LevelFilter>().is_ok();
    text.split(',').all(|part| part.contains('=') || is_level(part))
        && EnvFilter::builder().parse(text).is_ok()
}

/// An error with all its causes, in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> impl std::fmt::Display {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

/// Starts the log. `filter` is of the form `info` or `quorate=debug,warn`; a second start changes nothing.
///
/// # Errors
/// When the filter can't be read.
pub fn start(filter: &str, format: LogFormat) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // It fails when there is a log already.
    let _ = match format {
        LogFormat::Text => log.compact().try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    Ok(())
}
