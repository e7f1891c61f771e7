//! A user id: whose record at an API an event updates.

use std::fmt;

/// A user's number at an API: 1 to 2^63-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(u64);

impl UserId {
    /// The number as a user id, if it is one.
    pub fn new(number: u64) -> Option<Self> {
        (1..=i64::MAX as u64)
            .contains(&number)
            .then_some(UserId(number))
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
