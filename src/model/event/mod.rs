//! An event: a record that has been read as a CloudEvent carrying a user update.

mod decode;
mod rfc3339;
mod trace_context;

#[cfg(test)]
mod tests;

use std::fmt;

use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::model::json;

pub use decode::{decode, is_structured};
pub use rfc3339::parse as parse_time;
pub use trace_context::TraceContext;

pub use crate::model::user::{IdForm, UserId};

/// The event's sender and type. A part that could not be read is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The CloudEvents `id`.
    pub id: Option<String>,
    /// The CloudEvents `source`.
    pub source: Option<String>,
    /// The CloudEvents `type`.
    pub event_type: Option<String>,
}

/// An update event. Whether its user and changes make sense depends on the target, and is asked
/// later.
#[derive(Clone)]
pub struct Event {
    /// Its sender and type; every part is there.
    pub identity: Identity,
    /// When it stops being worth delivering (`expirytime`).
    pub expires_at: Option<Timestamp>,
    /// The target it names itself.
    pub target: Option<String>,
    /// `data.user`, as it came.
    pub user: Option<Box<RawValue>>,
    /// `data.changes`, as it came.
    pub changes: Option<Box<RawValue>>,
}

/// A record that is no update event.
#[derive(Clone, Debug, PartialEq)]
pub struct Undecodable {
    /// As much as could be read.
    pub identity: Identity,
    /// The fault and its place, in words that quote no value; a few hundred bytes at most.
    pub message: String,
}

/// Something about `user` or `changes` that the target cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidChanges {
    /// The fault, beginning with the path in the data, such as `data.changes.rooms[1]`. Quotes no
    /// value.
    pub message: String,
}

impl Event {
    /// The names in [`Event::fields`], at most.
    pub const MAX_FIELDS: usize = 64;
    /// The characters of one name in [`Event::fields`], at most.
    pub const MAX_FIELD_CHARS: usize = 64;

    /// The user to update, in the form that the API takes.
    ///
    /// # Errors
    ///
    /// Says what `data.user` is instead.
    pub fn user_id(&self, form: IdForm) -> Result<UserId, InvalidChanges> {
        form.read(self.user.as_deref())
    }

    /// The user to update, if no API is known that says what an id is.
    pub fn any_user_id(&self) -> Option<UserId> {
        UserId::of_any(self.user.as_deref())
    }

    /// The changes: an object with at least one entry. Its names and types are checked by the API.
    ///
    /// # Errors
    ///
    /// Describes `data.changes` if it is anything else.
    pub fn changes(&self) -> Result<&RawValue, InvalidChanges> {
        let what = match self.changes.as_deref() {
            Some(changes) if changes.get().starts_with('{') => {
                match changes.get()[1..].trim_start().starts_with('}') {
                    false => return Ok(changes),
                    true => "an empty one",
                }
            }
            Some(other) => json::kind(other),
            None => "missing",
        };
        let message =
            format!("data.changes: must be an object with one entry at least; it is {what}");
        Err(InvalidChanges { message })
    }

    /// The names in `data.changes`, in their order and bounded, as outcomes show them.
    pub fn fields(&self) -> Vec<String> {
        let members = self
            .changes
            .as_deref()
            .map(|changes| json::members(changes.get()))
            .unwrap_or_default();
        let names = members.iter().map(|(name, _)| name).take(Self::MAX_FIELDS);
        names
            .map(|name| name.chars().take(Self::MAX_FIELD_CHARS).collect())
            .collect()
    }
}

/// Shows no value of `changes`: passwords and card numbers are among them.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("identity", &self.identity)
            .field("expires_at", &self.expires_at)
            .field("target", &self.target)
            .field("user", &self.any_user_id())
            .field("fields", &self.fields())
            .finish_non_exhaustive()
    }
}
