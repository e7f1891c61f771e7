//! The APIs: what a user-management API must tell the rest of the service. Each API is a table and
//! a few functions: one file here and one line in [`ALL`].

mod access;
mod aipix;
mod changes;
mod judge;
mod losses;
pub(crate) mod oauth;
mod parts;
mod scim;
mod secrets;
mod table;
mod valt;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde_json::value::RawValue;

use crate::model::event::InvalidChanges;
use crate::model::user::{IdForm, UserId};
use engine::verdict::Verdict;

use crate::model::error::ApiError;
pub(crate) use access::without_scheme;
pub use access::{Access, Account, JudgeLogin, Login, Other};
pub use changes::Changes;
pub use losses::taking;
pub use parts::field_of;
pub use secrets::{Known, MASK};
pub use table::{Field, Kind, Replaced, TakesAway};

/// One user-management API: a table of what it takes, and how an update becomes a request and an
/// answer a verdict. It is stateless: the session and the connection are kept outside.
pub struct Api {
    /// The name in the configuration (`api = "…"`).
    pub name: &'static str,
    /// The name for people.
    pub title: &'static str,
    /// The form of its users' ids.
    pub id_form: IdForm,
    /// How the service gets in.
    pub access: Access,
    /// The fields that it takes in `data.changes`.
    pub fields: &'static [Field],
    /// How its address and its token are checked without changing anything.
    pub check: Check,
    /// The request that sets `changes` for the user.
    update: fn(&UserId, &Changes) -> Request,
    /// The verdict on the answer to it, by status and body.
    judge: fn(&UserId, &Changes, &Answer) -> Judgement,
}

impl Api {
    /// Checks names and types of `data.changes`. The values stay as they came, in their order;
    /// integers are written as such.
    ///
    /// # Errors
    /// The first mistake, with its path in the data.
    pub fn validate(&self, changes: &RawValue) -> Result<Changes, InvalidChanges> {
        changes::check(self.fields, changes)
    }

    /// Whether two updates of one user may be sent in one call: whether that comes to the same as
    /// sending one after the other.
    pub fn may_merge(&self, earlier: &Changes, later: &Changes) -> bool {
        earlier.may_be_merged_into(later)
    }

    /// The request that sets `changes` for `user`.
    pub fn update(&self, user: &UserId, changes: &Changes) -> Request {
        (self.update)(user, changes)
    }

    /// The verdict on an answer to [`Api::update`], by status and body.
    pub fn judge(&self, user: &UserId, changes: &Changes, answer: &Answer) -> Judgement {
        (self.judge)(user, changes, answer)
    }
}

/// A call that changes nothing.
pub struct Check {
    /// The call.
    pub request: fn() -> Request,
    /// Judges its answer, if the API gives one of its own.
    pub judge: fn(&Answer) -> Option<Result<String, String>>,
}

impl Check {
    /// An update of a user that nobody is, asked for with GET. The API need not know that method
    /// there: it is enough that it answers as itself.
    const fn of_nobody(request: fn() -> Request) -> Self {
        Check {
            request,
            judge: |_| None,
        }
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The registry: a further API is a further line.
pub static ALL: &[&Api] = &[&aipix::AIPIX, &valt::VALT, &scim::SCIM];

/// The API of that name in the configuration.
pub fn by_name(name: &str) -> Option<&'static Api> {
    ALL.iter().copied().find(|api| api.name == name)
}

/// An HTTP request, as far as an API decides it. The sender adds `Idempotency-Key`, `traceparent`
/// and `tracestate`.
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path below the target's `base_url`, such as `/api/v3/login`.
    pub path: String,
    /// The place of the token; `None` for a login.
    pub token: TokenPlace,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The media type of the answer that is asked for.
    pub accept: &'static str,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// One that sends JSON and asks for JSON.
    fn json(method: Method, path: String, token: TokenPlace, body: impl Into<Bytes>) -> Self {
        Request {
            method,
            path,
            token,
            content_type: JSON,
            accept: JSON,
            body: body.into(),
        }
    }
}

/// The media type of JSON.
pub const JSON: &str = "application/json";

/// The place of the token in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// Nowhere.
    None,
    /// `Authorization: Bearer …`.
    Bearer,
    /// This query parameter of the URL, which is secret for that reason.
    Query(&'static str),
}

/// An HTTP answer, as far as a verdict depends on it.
#[derive(Clone, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Whether there was a `Retry-After`, readable or not.
    pub asks_for_pause: bool,
    /// That `Retry-After` as a duration from now, if it could be read.
    pub retry_after: Option<Duration>,
    /// The body, or the outline of one that is longer than 64 KiB: a JSON object with its short
    /// members.
    pub body: Vec<u8>,
    /// Why the body, or the rest of it, could not be read, if so.
    pub unreadable: Option<&'static str>,
}

impl fmt::Debug for Answer {
    /// Leaves out the body: the answer to an update holds secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// A verdict and the API's words about it.
#[derive(Clone, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The error; `None` if it was delivered.
    pub error: Option<ApiError>,
    /// `error` quotes the API, so the caller must mask secrets in it.
    pub quotes_api: bool,
    /// The answer names another user than the one updated (a warning and a counter, no failure).
    pub other_user: bool,
    /// The answer confirms the update and shows other values than were sent: which, in words that
    /// quote nothing but what was sent (a warning and a counter, no failure).
    pub differing: Option<String>,
    /// The token was refused (401): another one may help. Not so if it was accepted and lacks a
    /// right (403).
    pub token_refused: bool,
}

impl fmt::Debug for Judgement {
    /// Leaves out the error, which is not yet masked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judgement")
            .field("verdict", &self.verdict)
            .finish_non_exhaustive()
    }
}
