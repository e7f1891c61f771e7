//! The parts of a message that are changed if its topic refuses it as it is.

use std::fmt;

/// A part of a message that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Its key, replaced by the record's position or left out.
    Key,
    /// Its value: left out of a dead letter; of an outcome, the longest parts of its data.
    Value,
    /// Its headers, but for those that a dead letter adds.
    Headers,
    /// The text of the error.
    Error,
}

impl Part {
    /// Every part.
    pub const ALL: [Part; 4] = [Part::Key, Part::Value, Part::Headers, Part::Error];

    /// The part as metrics, logs and headers name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Key => "key",
            Part::Value => "value",
            Part::Headers => "headers",
            Part::Error => "error",
        }
    }
}

/// The parts of a message that were changed, in the order of [`Part::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlteredParts([bool; Part::ALL.len()]);

impl AlteredParts {
    /// Adds one.
    pub fn insert(&mut self, part: Part) {
        self.0[part as usize] = true;
    }

    /// Whether that part is one of them.
    pub fn has(self, part: Part) -> bool {
        self.0[part as usize]
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(move |part| self.has(*part))
    }

    /// None of them.
    pub fn is_empty(self) -> bool {
        !self.0.contains(&true)
    }
}

impl fmt::Display for AlteredParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Part::as_str).collect();
        f.write_str(&names.join(","))
    }
}
