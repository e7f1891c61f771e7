//! The judge: the rows of the verdict table that hold for every API.
//!
//! In cases the table leaves open, any other 4xx is a fault, since it says nothing sure about the
//! update and a dead letter would; any other 5xx is tried again, like the 500 that RFC 9110 makes
//! of it.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::error::ApiError;

use crate::api::{Answer, Judgement, Login};
use crate::model::json::{self, Number};
use crate::model::user::UserId;
use engine::verdict::Verdict;

/// An answer's body that is a JSON object. Only what is asked for is looked into.
pub(super) struct Body<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Body<'a> {
    pub(super) fn of(answer: &'a Answer) -> Option<Self> {
        serde_json::from_slice(&answer.body).ok().map(Body)
    }

    /// Whether there is such a member, be it null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The member's value; null if it is not there.
    pub(super) fn get(&self, name: &str) -> Value {
        self.0
            .get(name)
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or_default()
    }
}

/// The facts that an API reads out of the body of an answer that is no success.
#[derive(Default)]
pub(super) struct Refusal {
    /// The body has the shape that the API gives its errors.
    pub own_shape: bool,
    /// The body says, in the API's own words, that there is no such user.
    pub user_missing: bool,
    /// The API's validation messages.
    pub words: ApiError,
}

/// The evidence of success in a body.
pub(super) enum Proof {
    /// None.
    Missing,
    /// Proof of success, without a user's id.
    Given,
    /// Proof of success, with the id of the user that it names.
    Of(String),
}

impl<T: ToString> From<Option<T>> for Proof {
    fn from(id: Option<T>) -> Self {
        id.map_or(Proof::Missing, |id| Proof::Of(id.to_string()))
    }
}

/// How one API's bodies are read.
pub(super) struct Shape {
    /// Finds the evidence that the body of a 200 is the API's success.
    pub proof: fn(&Body<'_>) -> Proof,
    /// Reads an answer that is no success.
    pub refusal: fn(&Body<'_>) -> Refusal,
}

/// The verdict on an answer to an update.
pub(super) fn judge(shape: &Shape, user: &UserId, answer: &Answer) -> Judgement {
    let body = Body::of(answer);
    let judgement = match (status(answer, body.as_ref()), &body) {
        (None, _) => fault(
            "the answer was 200 with an error that has no known code: what answers at base_url is not this API",
        ),
        (Some(200), None) => fault(
            "the answer was 200, but no JSON object: what answers at base_url is not this API",
        ),
        (Some(200), Some(body)) => match (shape.proof)(body) {
            Proof::Of(id) => Judgement {
                other_user: id != user.to_string(),
                ..delivered()
            },
            Proof::Given => delivered(),
            Proof::Missing => fault(
                "the answer was 200, but names no user id: what answers at base_url is not this API",
            ),
        },
        (Some(status), body) => refused(
            status,
            answer,
            body.as_ref().map(shape.refusal).unwrap_or_default(),
        ),
    };
    explained(judgement, answer)
}

/// A fault for want of a body that could be read is told as that.
fn explained(judgement: Judgement, answer: &Answer) -> Judgement {
    match answer.unreadable {
        Some(why) if judgement.verdict == Verdict::Fault => fault(&format!(
            "the answer ({}) could not be read: {why}",
            answer.status
        )),
        _ => judgement,
    }
}

/// The verdict on an answer to a login; `token` finds the token and its lifetime in a success.
pub(super) fn judge_login(
    answer: &Answer,
    token: impl FnOnce(&Body<'_>) -> Option<(SecretString, Option<Duration>)>,
) -> Login {
    let body = Body::of(answer);
    let failed = match (status(answer, body.as_ref()), &body) {
        (Some(200), Some(body)) => match token(body) {
            Some((token, renew_after)) => return Login::Token { token, renew_after },
            None => fault("the login was answered with 200, but without a token: check base_url"),
        },
        (Some(400 | 401 | 403 | 422), _) => return Login::Refused,
        (None | Some(200 | 204), _) => {
            fault("the login was answered like something else than a login: check base_url")
        }
        (Some(status), _) => refused(status, answer, Refusal::default()),
    };
    match failed.verdict {
        // There is no update yet that could be the problem.
        Verdict::Rejected { .. } => Login::Failed(fault(
            "the login was answered like something else than a login: check base_url",
        )),
        _ => Login::Failed(explained(failed, answer)),
    }
}

/// The status that counts: a 200 may carry an error, whose code then counts. `None` if that error
/// has none.
fn status(answer: &Answer, body: Option<&Body<'_>>) -> Option<u16> {
    let error = body
        .filter(|_| answer.status == 200)
        .map(|body| body.get("error"))
        .unwrap_or_default();
    let is_none = match &error {
        Value::Null => true,
        Value::Bool(is_error) => !is_error,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(_) => false,
    };
    match error {
        _ if is_none => Some(answer.status),
        error => number(&error["code"])
            .and_then(|code| u16::try_from(code).ok())
            .filter(|code| (300..600).contains(code)),
    }
}

fn refused(status: u16, answer: &Answer, refusal: Refusal) -> Judgement {
    let quotes_api = refusal.own_shape && matches!(status, 400 | 409 | 410 | 412 | 422);
    let (verdict, error) = match status {
        _ if quotes_api => (
            Verdict::Rejected {
                user_not_found: false,
            },
            refusal.words,
        ),
        413 => (
            Verdict::Rejected {
                user_not_found: false,
            },
            ApiError::new("the API answered 413: the update is too large for it"),
        ),
        404 if refusal.user_missing => (
            Verdict::Rejected {
                user_not_found: true,
            },
            ApiError::new("the API knows no such user (404)"),
        ),
        401 => (
            Verdict::Unauthorized,
            ApiError::new("the API refused the token (401): check the target's credentials"),
        ),
        403 => {
            let message = "the API forbids the update (403): if it forbids all, give the target's account the right to change users";
            (Verdict::Unauthorized, ApiError::new(message))
        }
        429 => (
            Verdict::Throttled {
                retry_after: answer.retry_after,
            },
            ApiError::new("the API asks for a pause (429)"),
        ),
        503 if answer.asks_for_pause => (
            Verdict::Throttled {
                retry_after: answer.retry_after,
            },
            ApiError::new("the API asks for a pause (503)"),
        ),
        408 | 425 | 500..=599 => (
            Verdict::Retry { unreachable: false },
            ApiError::new(format!("the API answered {status}")),
        ),
        300..=399 => {
            return fault(&format!(
                "the answer was {status}, a redirect, which is not followed: set base_url to where it leads"
            ));
        }
        _ => return stranger(status),
    };
    Judgement {
        verdict,
        error: Some(error),
        other_user: false,
        differing: None,
        token_refused: status == 401,
        quotes_api,
    }
}

/// The update was confirmed.
pub(super) fn delivered() -> Judgement {
    Judgement {
        verdict: Verdict::Delivered,
        error: None,
        other_user: false,
        differing: None,
        token_refused: false,
        quotes_api: false,
    }
}

/// Not the API itself answers.
pub(super) fn stranger(status: u16) -> Judgement {
    fault(&format!(
        "the answer was {status}, not as this API gives it: check base_url and what stands in between"
    ))
}

pub(super) fn fault(message: &str) -> Judgement {
    Judgement {
        verdict: Verdict::Fault,
        error: Some(ApiError::new(message)),
        other_user: false,
        differing: None,
        token_refused: false,
        quotes_api: false,
    }
}

/// An integer, also one written as 5.0 or as a string of digits.
pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => match json::number_in(&number.to_string())? {
            Number::Integer(number) => u64::try_from(number).ok(),
            Number::Beyond | Number::Fraction => None,
        },
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

/// A string that is not empty.
pub(super) fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.trim().is_empty())
}
