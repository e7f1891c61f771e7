//! A mistake in the configuration: where it stands, which key it is about, and what to do.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Where a value came from. The order is the order of the report.
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

impl Origin {
    /// Whether this is in a later layer than the other, and so wins over it.
    pub(super) fn overrides(&self, other: &Origin) -> bool {
        let layer = |origin: &Origin| match origin {
            Origin::File { .. } => 0,
            Origin::Environment(_) => 1,
            Origin::Flag(_) => 2,
        };
        layer(self) > layer(other)
    }
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
    /// Where it was made.
    pub origin: Origin,
    /// The key, such as `targets.valt.retry.max_attempts`; empty where none can be named.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// All mistakes of a configuration, in the order of their places. Shown as one line each and a last one that counts them.
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

/// One reading of a configuration: the environment it happens in, and what was found on the way.
pub(super) struct Reading {
    /// The environment's variables. They hold secrets, so this struct has no `Debug`.
    pub(super) environment: HashMap<String, String>,
    /// What may be meant so, but should be looked at.
    pub(super) warnings: Vec<String>,
    mistakes: Vec<Mistake>,
    /// The lines on which the file is no TOML.
    broken_lines: Vec<usize>,
}

impl Reading {
    pub(super) fn new(environment: impl Iterator<Item = (String, String)>) -> Self {
        Reading { environment: environment.collect(), warnings: Vec::new(), mistakes: Vec::new(), broken_lines: Vec::new() }
    }

    pub(super) fn mistake(&mut self, origin: &Origin, key: impl Into<String>, message: impl Into<String>) {
        let (key, message) = (key.into(), message.into());
        // What a line means that is no TOML is a guess: the guess is not worth a second complaint.
        if !matches!(origin, Origin::File { line, .. } if self.broken_lines.contains(line)) {
            self.mistakes.push(Mistake { origin: origin.clone(), key, message });
        }
    }

    /// A mistake by absence. In a file that is no TOML it may only seem so, and is kept quiet.
    pub(super) fn missing(&mut self, origin: &Origin, key: impl Into<String>, message: impl Into<String>) {
        if self.broken_lines.is_empty() {
            self.mistake(origin, key, message);
        }
    }

    /// How many mistakes there are so far.
    pub(super) fn count(&self) -> usize {
        self.mistakes.len()
    }

    /// The file is no TOML there.
    pub(super) fn syntax_error(&mut self, origin: Origin, message: String) {
        if let Origin::File { line, .. } = origin {
            self.broken_lines.push(line);
        }
        self.mistakes.push(Mistake { origin, key: String::new(), message });
    }

    pub(super) fn warn(&mut self, origin: &Origin, key: &str, message: &str) {
        self.warnings.push(format!("{origin}: {key}: {message}"));
    }

    /// The warnings, or the mistakes if there are any.
    pub(super) fn finish(self) -> Result<Vec<String>, Mistakes> {
        if self.mistakes.is_empty() { Ok(self.warnings) } else { Err(self.into_mistakes()) }
    }

    /// The mistakes in the order of their places.
    pub(super) fn into_mistakes(mut self) -> Mistakes {
        self.mistakes.sort_by(|a, b| a.origin.cmp(&b.origin));
        Mistakes(self.mistakes)
    }
}
