//! VALT: `POST /api/v3/admin/users/{id}/edit` sets what the body names. Its token travels in the
//! URL.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::api::judge::{self, Body, Refusal, Shape};
use crate::api::{
    Access, Account, Answer, Api, Changes, Check, Field, Judgement, Kind, Login, Other, Replaced,
    Request, TakesAway, TokenPlace,
};
use crate::model::error::ApiError;
use crate::model::user::{IdForm, UserId};

/// The API of a VALT server.
pub(super) static VALT: Api = Api {
    name: "valt",
    title: "VALT",
    id_form: IdForm::Number,
    access: Access {
        token_key: "access_token",
        other: Other::Login(&Account {
            username_key: "username",
            request: login,
            judge: judge_login,
        }),
    },
    fields: FIELDS,
    check: Check::of_nobody(check),
    update,
    judge,
};

#[rustfmt::skip]
const FIELDS: &[Field] = &[
    Field::new("name", Kind::Text, "The user name.", "\"jdoe\""),
    // VALT may bar the last passwords: one that is left out would not be among them.
    Field::new("password", Kind::Text, "The password.", "\"correct horse\"").secret()
        .replaced(Replaced::Remembered),
    Field::new("display_name", Kind::Text, "Shown in place of the user name.", "\"John Doe\""),
    Field::new("user_group", Kind::Integer, "The id of the primary group.", "4"),
    Field::new("card_number", Kind::Text, "The card's number, with its leading zeros.", "\"0042\"")
        .secret(),
    Field::new("rooms", Kind::INTEGERS, "The ids of the rooms that the user may see.", "[37, 39]")
        .takes_away(TakesAway::Empty),
    Field::new("video_access", VIDEO_ACCESS, "Whose videos the user may see.", "{\"users\": [15]}")
        .replaced(Replaced::Unknown),
];

#[rustfmt::skip]
const VIDEO_ACCESS: Kind = Kind::Object(&[
    Field::new("users", Kind::INTEGERS, "The ids of users.", "[15]").takes_away(TakesAway::Empty),
    Field::new("user_groups", Kind::INTEGERS, "The ids of user groups.", "[4]")
        .takes_away(TakesAway::Empty),
]);

const SHAPE: Shape = Shape {
    proof: |body| judge::number(&body.get("data")["id"]).into(),
    refusal,
};

/// The vendor's own client logs in again every 8 hours; half an hour is left for the login to
/// succeed.
const RENEW_AFTER: Duration = Duration::from_secs(7 * 3600 + 1800);

fn check() -> Request {
    request(Method::GET, i64::MAX, Bytes::new())
}

fn update(user: &UserId, changes: &Changes) -> Request {
    request(Method::POST, user, changes.body())
}

fn request(method: Method, user: impl Display, body: Bytes) -> Request {
    let path = format!("/api/v3/admin/users/{user}/edit");
    Request::json(method, path, TokenPlace::Query("access_token"), body)
}

fn judge(user: &UserId, _: &Changes, answer: &Answer) -> Judgement {
    judge::judge(&SHAPE, user, answer)
}

fn login(username: &str, password: &SecretString) -> Request {
    let path = "/api/v3/login".to_owned();
    let body = json!({ "username": username, "password": password.expose_secret() });
    Request::json(Method::POST, path, TokenPlace::None, body.to_string())
}

fn judge_login(answer: &Answer) -> Login {
    judge::judge_login(answer, |body| {
        let data = body.get("data");
        let token = judge::text(&data["access_token"])?;
        Some((SecretString::from(token.trim()), Some(RENEW_AFTER)))
    })
}

/// VALT's errors have an `error` with a code, or say in `data` what is wrong.
fn refusal(body: &Body<'_>) -> Refusal {
    let (error, data) = (body.get("error"), body.get("data"));
    let words = [&error["message"], &error, &data]
        .into_iter()
        .find_map(judge::text);
    Refusal {
        own_shape: body.has("error") || body.has("data"),
        user_missing: judge::number(&error["code"]) == Some(404),
        words: ApiError::new(words.unwrap_or("the API refused the update and gave no message")),
    }
}
