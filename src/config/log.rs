//! `[log]`: the levels and the form of the log.

use tracing::level_filters::LevelFilter;

use crate::config::section::{Section, quoted};

/// Logging to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The levels that are logged; `RUST_LOG` wins over them.
    pub level: Levels,
    /// The form of a line.
    pub format: LogFormat,
}

/// The least severe level that is logged, and another one for the lines of some modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// For all of the service's lines.
    pub all: LevelFilter,
    /// For those of the modules that these begin with, such as `user_courier::subscriber::ending`.
    /// The longest that fits wins.
    pub of: Vec<(String, LevelFilter)>,
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

impl From<LevelFilter> for Levels {
    fn from(all: LevelFilter) -> Self {
        Levels {
            all,
            of: Vec::new(),
        }
    }
}

impl Levels {
    /// Reads a level, or a list such as `info,user_courier::subscriber::ending=warn`.
    ///
    /// # Errors
    /// A message for whoever wrote it.
    pub fn read(text: &str) -> Result<Self, String> {
        let (mut all, mut of) = (None, Vec::new());
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                Some((module, word)) if is_module(module) => {
                    of.push((module.to_owned(), level(word)?))
                }
                Some((module, _)) => {
                    return Err(format!(
                        "{} is no module: write it as user_courier::subscriber::ending=warn",
                        quoted(module)
                    ));
                }
                None if all.is_some() => {
                    return Err("has more than one level for all: keep one of them".to_owned());
                }
                None => all = Some(level(part)?),
            }
        }
        Ok(Levels {
            all: all.unwrap_or(LevelFilter::INFO),
            of,
        })
    }
}

fn level(word: &str) -> Result<LevelFilter, String> {
    const LEVELS: [LevelFilter; 6] = [
        LevelFilter::ERROR,
        LevelFilter::WARN,
        LevelFilter::INFO,
        LevelFilter::DEBUG,
        LevelFilter::TRACE,
        LevelFilter::OFF,
    ];
    let found = LEVELS.into_iter().find(|level| level.to_string() == word);
    found.ok_or_else(|| {
        let words = LEVELS.map(|level| level.to_string()).join(", ");
        format!("{} is not one of {words}; a list is written as \"info,user_courier::subscriber::ending=warn\"", quoted(word))
    })
}

fn is_module(text: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    text.split("::").all(is_name)
}

impl Log {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let format = match section.text("format").as_deref() {
            Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            _ => LogFormat::Auto,
        };
        Log {
            level: section
                .parsed("level", Levels::read)
                .unwrap_or(LevelFilter::INFO.into()),
            format,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_may_be_followed_by_those_of_modules() {
        assert_eq!(Levels::read("warn"), Ok(LevelFilter::WARN.into()));
        let of = vec![
            (
                "user_courier::subscriber::ending".to_owned(),
                LevelFilter::WARN,
            ),
            ("librdkafka".to_owned(), LevelFilter::OFF),
        ];
        assert_eq!(
            Levels::read("user_courier::subscriber::ending=warn, debug,librdkafka=off"),
            Ok(Levels {
                all: LevelFilter::DEBUG,
                of
            })
        );
        assert_eq!(
            Levels::read("librdkafka=off").unwrap().all,
            LevelFilter::INFO
        );
    }

    #[test]
    fn what_is_no_level_is_a_mistake_and_never_taken_for_a_module() {
        for wrong in [
            "loud",
            "INFO",
            "info,",
            "info,debug",
            "user_courier",
            "=warn",
            "a b=warn",
            "user_courier::=warn",
            "user_courier=loud",
        ] {
            assert!(Levels::read(wrong).is_err(), "{wrong}");
        }
    }
}
