//! The APIs: what a user-management API must tell the rest of the service. Each API is one file here and one line in [`by_name`].

mod aipix;
pub mod session;
mod valt;

use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::event::{InvalidChanges, UserId};
use crate::verdict::Verdict;

/// One user-management API: how an update becomes a request, and how an answer is judged.
///
/// Implementations are stateless: the session (token, login) and the connection are kept outside.
pub trait Api: Send + Sync {
    /// The name in the configuration (`api = "…"`).
    fn name(&self) -> &'static str;

    /// What this API calls a fixed token; the configuration's keys are this plus `_file` or `_env`.
    fn token_key(&self) -> &'static str;

    /// What this API calls the name of an account; a key of the configuration.
    fn username_key(&self) -> &'static str;

    /// The fields of `changes` whose values are secret.
    fn secret_fields(&self) -> &'static [&'static str];

    /// Checks names and types of `data.changes`. The values stay as they came, in their order.
    fn validate(&self, changes: &Map<String, Value>) -> Result<(), InvalidChanges>;

    /// The request that sets `changes` (validated before) for `user`.
    fn update(&self, user: UserId, changes: &Map<String, Value>) -> Request;

    /// The verdict on an answer to [`Api::update`], by status and body.
    fn judge(&self, user: UserId, answer: &Answer) -> Judgement;

    /// The request that logs in.
    fn login(&self, username: &str, password: &SecretString) -> Request;

    /// What a login was answered with.
    fn judge_login(&self, answer: &Answer) -> Login;
}

/// The registry: a further API is a further entry.
pub fn all() -> [&'static dyn Api; 2] {
    [&aipix::Aipix, &valt::Valt]
}

/// The API of that name in the configuration.
pub fn by_name(name: &str) -> Option<&'static dyn Api> {
    all().into_iter().find(|api| api.name() == name)
}

/// An HTTP request, as far as an API decides it. The sender adds `Idempotency-Key` and `traceparent`.
pub struct Request {
    /// The method.
    pub method: reqwest::Method,
    /// The path below the target's `base_url`, such as `/api/v3/login`.
    pub path: String,
    /// Where the token goes; `None` for a login.
    pub token: TokenPlace,
    /// The JSON body.
    pub body: Vec<u8>,
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

/// An HTTP answer: status, the headers that matter, and the body's first 64 KiB.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, already read into a duration from now.
    pub retry_after: Option<Duration>,
    /// The body, cut at the cap.
    pub body: Vec<u8>,
    /// Whether the body was longer than the cap.
    pub truncated: bool,
}

/// A verdict and the API's words about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// What went wrong; `None` where it was delivered. Secret values of the update are masked by the caller.
    pub error: Option<ApiError>,
    /// The answer names another user than the one updated (a warning and a counter, no failure).
    pub other_user: bool,
}

/// Why an attempt failed, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct ApiError {
    /// In words.
    pub message: String,
    /// The API's validation messages by field.
    pub fields: std::collections::BTreeMap<String, Vec<String>>,
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
