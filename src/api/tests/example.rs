//! Doors: `PATCH /v1/people/{id}` sets what the body names.

use std::fmt::Display;

use bytes::Bytes;
use hyper::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::api::judge::{self, Body, Refusal, Shape};
use crate::api::{
    Access, Account, Answer, Api, Changes, Check, Field, Judgement, Kind, Login, Other, Request,
    TokenPlace,
};
use crate::model::error::ApiError;
use crate::model::user::{IdForm, UserId};

/// The API of a Doors server.
pub(super) static DOORS: Api = Api {
    name: "doors",
    title: "Doors",
    id_form: IdForm::Number,
    access: Access {
        token_key: "token",
        other: Other::Login(&Account {
            username_key: "account",
            request: login,
            judge: judge_login,
        }),
    },
    fields: &[
        Field::new("badge", Kind::Text, "The number on the badge.", "\"0042\"").secret(),
        Field::new(
            "zones",
            Kind::INTEGERS,
            "The zones that are open.",
            "[1, 2]",
        ),
    ],
    check: Check::of_nobody(check),
    update,
    judge,
};

const SHAPE: Shape = Shape {
    proof: |body| judge::number(&body.get("id")).into(),
    refusal,
};

fn update(user: &UserId, changes: &Changes) -> Request {
    request(Method::PATCH, user, changes.body())
}

fn request(method: Method, user: impl Display, body: Bytes) -> Request {
    Request::json(
        method,
        format!("/v1/people/{user}"),
        TokenPlace::Bearer,
        body,
    )
}

fn check() -> Request {
    request(Method::GET, i64::MAX, Bytes::new())
}

fn judge(user: &UserId, _: &Changes, answer: &Answer) -> Judgement {
    judge::judge(&SHAPE, user, answer)
}

fn login(username: &str, password: &SecretString) -> Request {
    let body = json!({ "account": username, "password": password.expose_secret() });
    Request::json(
        Method::POST,
        "/v1/token".to_owned(),
        TokenPlace::None,
        body.to_string(),
    )
}

fn judge_login(answer: &Answer) -> Login {
    judge::judge_login(answer, |body| {
        let token = body.get("access_token");
        Some((SecretString::from(judge::text(&token)?), None))
    })
}

/// Errors have a `code` for programs and a `detail` for people.
fn refusal(body: &Body<'_>) -> Refusal {
    let (code, detail) = (body.get("code"), body.get("detail"));
    let words = judge::text(&detail).unwrap_or("the API refused the update and gave no message");
    Refusal {
        own_shape: body.has("code"),
        user_missing: code == "no_such_person",
        words: ApiError::new(words),
    }
}
