//! `[log]`: what is logged, and in which form.

use tracing::Level;

use super::mistake::Reading;
use super::section::Section;

/// Logging to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is logged; `RUST_LOG` wins over it.
    pub level: Level,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Log { level: Level::INFO, format: LogFormat::Auto }
    }
}

impl Log {
    pub(super) fn read(mut section: Section<'_>, reading: &mut Reading) -> Self {
        let default = Log::default();
        let levels =
            [("error", Level::ERROR), ("warn", Level::WARN), ("info", Level::INFO), ("debug", Level::DEBUG), ("trace", Level::TRACE)];
        let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
        let log = Log {
            level: section.word("level", &levels, reading).unwrap_or(default.level),
            format: section.word("format", &formats, reading).unwrap_or(default.format),
        };
        section.finish(reading);
        log
    }
}
