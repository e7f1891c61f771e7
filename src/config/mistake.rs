//! A mistake in the configuration: where it stands, which key it is about, and what to do.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The place that a value came from. The order is the order of the report, and of the layers: the
/// later wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A place in the file; line 0 is the file as a whole.
    File {
        /// The file as it was given.
        name: Arc<str>,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
    },
    /// The environment variable of that name.
    Environment(String),
    /// The `--set` of that key.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { name, line: 0, .. } => write!(f, "{name}"),
            Origin::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Origin::Environment(variable) => write!(f, "environment variable {variable}"),
            Origin::Flag(key) => write!(f, "--set {key}"),
        }
    }
}

/// One mistake. It quotes no value that could be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The place of the mistake.
    pub origin: Origin,
    /// The key, such as `targets.valt.retry.max_attempts`; empty if none can be named.
    pub key: String,
    /// The mistake and what to do.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistake {
            origin,
            key,
            message,
        } = self;
        if key.is_empty() {
            write!(f, "{origin}: {message}")
        } else {
            write!(f, "{origin}: {key}: {message}")
        }
    }
}

/// All mistakes of a configuration, in the order of their places. Shown as one line each and a last
/// one that counts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.0 {
            writeln!(f, "{mistake}")?;
        }
        match self.0.len() {
            1 => f.write_str("1 mistake in the configuration"),
            count => write!(f, "{count} mistakes in the configuration"),
        }
    }
}

impl std::error::Error for Mistakes {}

/// Which of the files and variables that a configuration names must be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Needed {
    /// All of them.
    #[default]
    All,
    /// Those of `[kafka]` alone: no API is called.
    Kafka,
    /// None: nobody is connected to.
    Nothing,
}

/// One reading of a configuration: the environment it happens in, and what was found on the way.
/// The environment holds secrets, so there is no `Debug`.
#[derive(Default)]
pub(super) struct ConfigReading {
    pub(super) environment: HashMap<String, String>,
    pub(super) needed: Needed,
    warnings: RefCell<Vec<String>>,
    mistakes: RefCell<Vec<Mistake>>,
    /// The lines on which the file is no TOML.
    broken_lines: RefCell<Vec<usize>>,
}

impl ConfigReading {
    pub(super) fn new(environment: impl Iterator<Item = (String, String)>) -> Self {
        ConfigReading {
            environment: environment.collect(),
            ..ConfigReading::default()
        }
    }

    pub(super) fn mistake(
        &self,
        origin: &Origin,
        key: impl Into<String>,
        message: impl Into<String>,
    ) {
        // A broken line's meaning is a guess, which is not worth a second complaint.
        if !matches!(origin, Origin::File { line, .. } if self.broken_lines.borrow().contains(line))
        {
            let mistake = Mistake {
                origin: origin.clone(),
                key: key.into(),
                message: message.into(),
            };
            self.mistakes.borrow_mut().push(mistake);
        }
    }

    /// A mistake by absence. In a file that is no TOML it may only seem so, and is kept quiet.
    pub(super) fn missing(
        &self,
        origin: &Origin,
        key: impl Into<String>,
        message: impl Into<String>,
    ) {
        if self.broken_lines.borrow().is_empty() {
            self.mistake(origin, key, message);
        }
    }

    /// The file is no TOML there.
    pub(super) fn syntax_error(&self, origin: Origin, message: String) {
        if let Origin::File { line, .. } = origin {
            self.broken_lines.borrow_mut().push(line);
        }
        self.mistakes.borrow_mut().push(Mistake {
            origin,
            key: String::new(),
            message,
        });
    }

    /// Something that is allowed but should be looked at.
    pub(super) fn warn(&self, origin: &Origin, key: &str, message: &str) {
        self.warnings
            .borrow_mut()
            .push(format!("{origin}: {key}: {message}"));
    }

    /// How many mistakes there are so far.
    pub(super) fn count(&self) -> usize {
        self.mistakes.borrow().len()
    }

    /// The warnings, or the mistakes if there are any.
    pub(super) fn finish(self) -> Result<Vec<String>, Mistakes> {
        if self.count() == 0 {
            Ok(self.warnings.into_inner())
        } else {
            Err(self.into_mistakes())
        }
    }

    /// The mistakes in the order of their places.
    pub(super) fn into_mistakes(self) -> Mistakes {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by(|a, b| a.origin.cmp(&b.origin));
        Mistakes(mistakes)
    }
}
