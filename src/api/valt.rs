//! VALT: `POST /api/v3/admin/users/{id}/edit` sets what the body names. Its token travels in the
//! URL.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;

use crate::api::changes::{self, Changes, Field, Kind};
use crate::api::judge::{self, Body, Refusal, Shape};
use crate::api::{Answer, Api, Judgement, Login, Request, TokenPlace};
use crate::model::error::ApiError;
use crate::model::event::InvalidChanges;
use crate::model::json;
use crate::model::user::{IdForm, UserId};

/// The API of a VALT server.
pub(super) struct Valt;

const FIELDS: &[Field] = &[
    ("name", Kind::Text),
    ("password", Kind::Text),
    ("display_name", Kind::Text),
    ("user_group", Kind::Integer),
    ("card_number", Kind::Text),
    ("rooms", Kind::Integers),
    (
        "video_access",
        Kind::Object(&[("users", Kind::Integers), ("user_groups", Kind::Integers)]),
    ),
];

const SHAPE: Shape = Shape {
    user: |body| judge::number(&body.get("data")["id"]),
    refusal,
};

/// The vendor's own client logs in again every 8 hours; half an hour is left for the login to
/// succeed.
const RENEW_AFTER: Duration = Duration::from_secs(7 * 3600 + 1800);

impl Api for Valt {
    fn name(&self) -> &'static str {
        "valt"
    }

    fn id_form(&self) -> IdForm {
        IdForm::Number
    }

    fn token_key(&self) -> &'static str {
        "access_token"
    }

    fn username_key(&self) -> &'static str {
        "username"
    }

    fn secret_fields(&self) -> &'static [&'static str] {
        &["password", "card_number"]
    }

    fn validate(&self, changes: &RawValue) -> Result<Changes, InvalidChanges> {
        changes::check(FIELDS, changes)
    }

    fn may_merge(&self, earlier: &Changes, later: &Changes) -> bool {
        let both = |field| earlier.get(field).zip(later.get(field));
        let parts = |access| json::members(access).into_iter().map(|(part, _)| part);
        // VALT may bar the last passwords: one that is left out would not be among them.
        both("password").is_none()
            // Whether a part that is not named stays as it was is not documented, so the later one
            // must name all that the earlier one does.
            && both("video_access").is_none_or(|(earlier, later)| parts(earlier).all(|part| parts(later).any(|other| other == part)))
    }

    fn update(&self, user: &UserId, changes: &Changes) -> Request {
        Request {
            method: hyper::Method::POST,
            path: format!("/api/v3/admin/users/{user}/edit"),
            token: TokenPlace::Query("access_token"),
            body: changes.body(),
        }
    }

    fn judge(&self, user: &UserId, answer: &Answer) -> Judgement {
        judge::judge(&SHAPE, user, answer)
    }

    fn login(&self, username: &str, password: &SecretString) -> Request {
        Request {
            method: hyper::Method::POST,
            path: "/api/v3/login".to_owned(),
            token: TokenPlace::None,
            body: serde_json::json!({ "username": username, "password": password.expose_secret() })
                .to_string()
                .into(),
        }
    }

    fn judge_login(&self, answer: &Answer) -> Login {
        judge::judge_login(answer, |body| {
            let data = body.get("data");
            let token = judge::text(&data["access_token"])?;
            Some((SecretString::from(token.trim()), Some(RENEW_AFTER)))
        })
    }
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
