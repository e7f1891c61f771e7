//! An event: a record that has been read as a CloudEvent carrying a user update.

use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

use crate::record::Record;

/// A user's number at an API: 1 to 2^63-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(u64);

impl UserId {
    /// The number as a user id, if it is one.
    pub fn new(number: u64) -> Option<Self> {
        (1..=i64::MAX as u64).contains(&number).then_some(UserId(number))
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

/// Who sent the event and what kind it is. What could not be read is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The CloudEvents `id`.
    pub id: Option<String>,
    /// The CloudEvents `source`.
    pub source: Option<String>,
    /// The CloudEvents `type`.
    pub event_type: Option<String>,
}

/// An update event. Whether its user and changes make sense depends on the target, and is asked later.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Who sent it; every part is there.
    pub identity: Identity,
    /// When it stops being worth delivering (`expirytime`).
    pub expires_at: Option<Timestamp>,
    /// The target it names itself.
    pub target: Option<String>,
    /// `data.user`, as it came.
    pub user: Option<Value>,
    /// `data.changes`, as it came.
    pub changes: Option<Value>,
}

/// A record that is no update event.
#[derive(Clone, Debug, PartialEq)]
pub struct Undecodable {
    /// As much as could be read.
    pub identity: Identity,
    /// What is wrong and where, in words that quote no value.
    pub message: String,
}

/// Something about `user` or `changes` that the target cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidChanges {
    /// What is wrong, beginning with the path in the data, such as `data.changes.rooms[1]`. Quotes no value.
    pub message: String,
}

/// Reads a record as an update event.
pub fn decode(_record: &Record) -> Result<Event, Undecodable> {
    Err(Undecodable { identity: Identity::default(), message: "not written yet".into() })
}
