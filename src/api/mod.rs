//! The APIs: what a user-management API must tell the rest of the service. Each API is one file
//! here and one line in [`ALL`].

mod aipix;
mod changes;
mod judge;
mod valt;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;
use serde_json::value::RawValue;

use crate::model::event::InvalidChanges;
use crate::model::user::{IdForm, UserId};
use engine::verdict::Verdict;

use crate::model::error::ApiError;
pub use changes::Changes;
pub(crate) use changes::MAX_ITEMS;

/// One user-management API: how an update becomes a request, and how an answer is judged.
///
/// Implementations are stateless: the session (token, login) and the connection are kept outside.
pub trait Api: Send + Sync {
    /// The name in the configuration (`api = "…"`).
    fn name(&self) -> &'static str;

    /// What it takes as a user's id.
    fn id_form(&self) -> IdForm;

    /// What the configuration calls a fixed token; its key there is this plus `_file` or `_env`.
    fn token_key(&self) -> &'static str;

    /// What the configuration calls the name to log in with.
    fn username_key(&self) -> &'static str;

    /// The fields of `changes` whose values are secret.
    fn secret_fields(&self) -> &'static [&'static str];

    /// Checks names and types of `data.changes`. The values stay as they came, in their order;
    /// integers are written as such.
    ///
    /// # Errors
    /// The first mistake, with its path in the data.
    fn validate(&self, changes: &RawValue) -> Result<Changes, InvalidChanges>;

    /// Whether two updates of one user, the later one's value of a field put in place of the
    /// earlier one's, may be sent in one call: whether that comes to the same as sending one after
    /// the other.
    fn may_merge(&self, earlier: &Changes, later: &Changes) -> bool;

    /// The request that sets `changes` for `user`.
    fn update(&self, user: &UserId, changes: &Changes) -> Request;

    /// The verdict on an answer to [`Api::update`], by status and body.
    fn judge(&self, user: &UserId, answer: &Answer) -> Judgement;

    /// The request that logs in.
    fn login(&self, username: &str, password: &SecretString) -> Request;

    /// What a login was answered with.
    fn judge_login(&self, answer: &Answer) -> Login;
}

impl fmt::Debug for dyn Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The registry: a further API is a further line.
pub static ALL: [&'static dyn Api; 2] = [&aipix::Aipix, &valt::Valt];

/// The API of that name in the configuration.
pub fn by_name(name: &str) -> Option<&'static dyn Api> {
    ALL.into_iter().find(|api| api.name() == name)
}

/// An HTTP request, as far as an API decides it. The sender adds `Idempotency-Key`, `traceparent`
/// and `tracestate`.
pub struct Request {
    /// The method.
    pub method: hyper::Method,
    /// The path below the target's `base_url`, such as `/api/v3/login`.
    pub path: String,
    /// Where the token goes; `None` for a login.
    pub token: TokenPlace,
    /// The JSON body.
    pub body: Bytes,
}

/// Where a request carries its token.
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
    /// That `Retry-After` as a duration from now, where it could be read.
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
    /// What went wrong; `None` where it was delivered.
    pub error: Option<ApiError>,
    /// `error` quotes the API, so the caller must mask secrets in it.
    pub quotes_api: bool,
    /// The answer names another user than the one updated (a warning and a counter, no failure).
    pub other_user: bool,
    /// The token was refused (401): another one may help. Not so where it was accepted and lacks a
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

/// How a login ended.
#[derive(Debug)]
pub enum Login {
    /// With a token.
    Token {
        /// The token, without any `Bearer ` before it.
        token: SecretString,
        /// After how long it should be renewed, where the API says or is known for it.
        renew_after: Option<Duration>,
    },
    /// The credentials were refused (400, 401, 403, 422).
    Refused,
    /// Something else: judged as a call would be.
    Failed(Judgement),
}

/// The token without spaces around it and without the word that stands before it in a header:
/// vendors hand it out with it, as the sample of aipix shows, and so do people.
pub(crate) fn without_scheme(token: &str) -> &str {
    match token.trim().split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer ") => rest.trim_start(),
        _ => token.trim(),
    }
}
