//! aipix VMS: `PUT /api/admin/v1/users/{user}` sets the list of a user's permissions. It answers in
//! Laravel's shapes.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::api::judge::{self, Body, Refusal, Shape};
use crate::api::{
    Access, Account, Answer, Api, Changes, Check, Field, Judgement, Kind, Login, Other, Request,
    TakesAway, TokenPlace, without_scheme,
};
use crate::model::error::ApiError;
use crate::model::user::{IdForm, UserId};
use engine::verdict::Verdict;

/// The API of an aipix VMS.
pub(super) static AIPIX: Api = Api {
    name: "aipix",
    title: "aipix",
    id_form: IdForm::Number,
    access: Access {
        token_key: "token",
        other: Other::Login(&Account {
            username_key: "login",
            request: login,
            judge: judge_login,
        }),
    },
    fields: &[Field::new(
        "permissions",
        Kind::INTEGERS,
        "The whole list of the user's permission ids; an empty one takes them all away.",
        "[9, 12]",
    )
    .takes_away(TakesAway::Empty)],
    check: Check::of_nobody(check),
    update,
    judge,
};

const SHAPE: Shape = Shape {
    proof: |body| judge::number(&body.get("id")).into(),
    refusal,
};

/// How Laravel begins to say that a record is not in the database; the class, a bracket and the id
/// follow.
const MISSING: &str = "No query results for model [";

fn check() -> Request {
    request(Method::GET, i64::MAX, Bytes::new())
}

fn update(user: &UserId, changes: &Changes) -> Request {
    // Nothing is made up if the event names none: an empty list strips the user of all permissions.
    request(Method::PUT, user, changes.body())
}

fn request(method: Method, user: impl Display, body: Bytes) -> Request {
    let path = format!("/api/admin/v1/users/{user}");
    Request::json(method, path, TokenPlace::Bearer, body)
}

fn judge(user: &UserId, changes: &Changes, answer: &Answer) -> Judgement {
    let judgement = match answer.status {
        204 => judge::delivered(),
        _ => judge::judge(&SHAPE, user, answer),
    };
    Judgement {
        differing: match judgement.verdict {
            Verdict::Delivered => differing(changes, answer),
            _ => None,
        },
        ..judgement
    }
}

/// The ids that are named at most.
const MAX_NAMED: usize = 20;

/// The difference between the permissions in the answer and those sent: ids of another kind of user
/// are passed over, and nobody would know. Only ids that were sent are named.
fn differing(changes: &Changes, answer: &Answer) -> Option<String> {
    let sent: BTreeSet<u64> = serde_json::from_str(changes.get("permissions")?).ok()?;
    let held = Body::of(answer)?.get("permissions");
    let held = held.as_array()?.iter().map(|one| match one {
        Value::Object(permission) => judge::number(permission.get("id")?),
        id => judge::number(id),
    });
    let held: BTreeSet<u64> = held.collect::<Option<_>>()?;
    let missing: Vec<_> = sent.difference(&held).collect();
    let more = held.difference(&sent).count();
    let named: Vec<_> = missing
        .iter()
        .take(MAX_NAMED)
        .map(ToString::to_string)
        .collect();
    let cut = if missing.len() > MAX_NAMED {
        " and more"
    } else {
        ""
    };
    let named = format!(
        "of the permissions sent these do not hold: {}{cut}",
        named.join(", ")
    );
    let besides = format!("so many hold that were not sent: {more}");
    match (missing.is_empty(), more) {
        (true, 0) => None,
        (true, _) => Some(besides),
        (false, 0) => Some(named),
        (false, _) => Some(format!("{named}; {besides}")),
    }
}

fn login(username: &str, password: &SecretString) -> Request {
    let path = "/api/admin/v1/auth/token".to_owned();
    let body = json!({ "login": username, "password": password.expose_secret() });
    Request::json(Method::POST, path, TokenPlace::None, body.to_string())
}

fn judge_login(answer: &Answer) -> Login {
    judge::judge_login(answer, |body| {
        let token = body.get("access_token");
        let expires_at = body.get("expires_at");
        let renew_after = expires_at
            .as_str()
            .and_then(|text| renew_after(text, jiff::Timestamp::now()));
        Some((
            SecretString::from(without_scheme(judge::text(&token)?)),
            renew_after,
        ))
    })
}

/// `expires_at` bears no zone, so it may be wrong by half a day either way: it is good for renewing
/// early, and within bounds. Where it misleads, a 401 leads to a new login all the same.
fn renew_after(expires_at: &str, now: jiff::Timestamp) -> Option<Duration> {
    const SHORTEST: Duration = Duration::from_secs(5 * 60);
    const LONGEST: Duration = Duration::from_secs(24 * 3600);
    let expires_at = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", expires_at).ok()?;
    let expires_at = expires_at
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()?
        .timestamp();
    let left = Duration::try_from(expires_at.duration_since(now)).unwrap_or_default();
    Some((left * 9 / 10).clamp(SHORTEST, LONGEST))
}

/// Laravel's errors have a `message`, and `errors` by field if it checked the request.
fn refusal(body: &Body<'_>) -> Refusal {
    let error = body.get("error");
    let member = |name: &str| {
        if body.has(name) {
            body.get(name)
        } else {
            error[name].clone()
        }
    };
    let (message, errors) = (member("message"), member("errors"));
    let message = judge::text(&message);
    let fields = errors.as_object().map(|fields| {
        fields
            .iter()
            .map(|(name, texts)| (name.clone(), strings(texts)))
            .collect()
    });
    Refusal {
        own_shape: ["message", "errors"]
            .iter()
            .any(|name| body.has(name) || error.get(name).is_some()),
        user_missing: message
            .and_then(missing_model)
            .is_some_and(|model| model.ends_with("User")),
        words: ApiError {
            message: message
                .unwrap_or("the API refused the update and gave no message")
                .to_owned(),
            fields: fields.unwrap_or_default(),
        },
    }
}

/// The class that Laravel says it found no record of, such as `App\Models\User`. A permission may
/// be missing as well.
fn missing_model(message: &str) -> Option<&str> {
    message
        .strip_prefix(MISSING)?
        .split_once(']')
        .map(|(model, _)| model)
}

fn strings(texts: &Value) -> Vec<String> {
    match texts {
        Value::String(text) => vec![text.clone()],
        Value::Array(texts) => texts
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_token_is_a_hint_within_bounds() {
        let now: jiff::Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
        let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
        for (expires_at, expected) in [
            ("2026-11-22 11:00:00", minutes(108)),
            ("2026-11-22 09:01:00", minutes(5)),
            ("2026-11-21 09:00:00", minutes(5)),
            ("2030-01-01 00:00:00", minutes(24 * 60)),
            ("9999-12-31 23:59:59", None),
            ("0000-00-00 00:00:00", None),
            ("tomorrow", None),
            ("", None),
        ] {
            assert_eq!(renew_after(expires_at, now), expected, "{expires_at}");
        }
    }
}
