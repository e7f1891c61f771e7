//! aipix VMS: its documented answers, and Laravel's usual ones if the vendor's page is silent.

use std::sync::LazyLock;

use bytes::Bytes;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, LOCATION};
use hyper::http::HeaderName;
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{ApiServer, Purpose};
use crate::message::{Answer, Request, unescaped};
use crate::state::ServerState;
use crate::user::User;

const LOGIN: &str = "/api/admin/v1/auth/token";
const USERS: &str = "/api/admin/v1/users/";

/// An aipix VMS.
pub(super) struct AipixServer;

impl ApiServer for AipixServer {
    fn name(&self) -> &'static str {
        "aipix"
    }

    fn user(&self, id: &str) -> Option<User> {
        id.parse().ok().map(User::Number)
    }

    fn purpose(&self, method: &Method, path: &str) -> Purpose {
        if method == Method::POST && path == LOGIN {
            return Purpose::Login;
        }
        match path
            .strip_prefix(USERS)
            .and_then(|id| self.user(&unescaped(id)))
        {
            Some(user) if method == Method::PUT => Purpose::Update(user),
            _ => Purpose::Other,
        }
    }

    /// The checks come in Laravel's order: route, token, user, body.
    fn answer(
        &mut self,
        request: &Request,
        purpose: &Purpose,
        state: &mut ServerState,
        now: Instant,
    ) -> Answer {
        if let Some(answer) = wrong_route(request, purpose) {
            return answer;
        }
        // Laravel takes a client that does not ask for JSON for a browser, and sends it to the
        // login form.
        if !request
            .header(ACCEPT)
            .is_some_and(|accept| accept.contains("/json") || accept.contains("+json"))
        {
            return Answer::page(StatusCode::FOUND).with(LOCATION, "/login");
        }
        if *purpose == Purpose::Login {
            return login(request, state, now);
        }
        let token = request.bearer();
        if !token.is_some_and(|token| state.tokens.knows(token, now)) {
            return self.refusal(StatusCode::UNAUTHORIZED, None);
        }
        match purpose {
            Purpose::Update(user) if state.settings.users.contains(user) => {
                update(request, user, state)
            }
            _ => no_such_user(request.path().trim_start_matches(USERS)),
        }
    }

    fn refusal(&self, status: StatusCode, user: Option<&User>) -> Answer {
        let message = match status.as_u16() {
            401 => "Unauthenticated.",
            403 => "This action is unauthorized.",
            404 => return no_such_user(&user.unwrap_or(&User::Number(0)).to_string()),
            419 => "CSRF token mismatch.",
            422 => {
                return invalid(vec![(
                    "permissions",
                    "Указаны недопустимые разрешения.".into(),
                )]);
            }
            429 => {
                let answer = Answer::json(status, &json!({ "message": "Too Many Attempts." }));
                return answer.with(HeaderName::from_static("x-ratelimit-remaining"), "0");
            }
            500 => "Server Error",
            _ => status.canonical_reason().unwrap_or("Error"),
        };
        Answer::json(status, &json!({ "message": message }))
    }
}

fn wrong_route(request: &Request, purpose: &Purpose) -> Option<Answer> {
    let (method, path) = (&request.parts.method, request.path());
    let supported = match () {
        () if path == LOGIN => Method::POST,
        () if path
            .strip_prefix(USERS)
            .is_some_and(|user| !user.is_empty() && !user.contains('/')) =>
        {
            Method::PUT
        }
        () => {
            let message = format!(
                "The route {} could not be found.",
                path.trim_start_matches('/')
            );
            return Some(Answer::json(
                StatusCode::NOT_FOUND,
                &json!({ "message": message }),
            ));
        }
    };
    (*purpose == Purpose::Other && *method != supported).then(|| {
        let route = path.trim_start_matches('/');
        let message = format!("The {method} method is not supported for route {route}. Supported methods: {supported}.");
        Answer::json(StatusCode::METHOD_NOT_ALLOWED, &json!({ "message": message })).with(ALLOW, supported.as_str())
    })
}

fn no_such_user(user: &str) -> Answer {
    let message = format!("No query results for model [App\\Models\\User] {user}");
    Answer::json(StatusCode::NOT_FOUND, &json!({ "message": message }))
}

fn login(request: &Request, state: &mut ServerState, now: Instant) -> Answer {
    let field = |name: &str| request.json.as_ref()?.get(name)?.as_str();
    let missing: Vec<_> = ["login", "password"]
        .into_iter()
        .filter(|name| field(name).is_none())
        .collect();
    if !missing.is_empty() {
        return invalid(
            missing
                .into_iter()
                .map(|name| (name, format!("Поле {name} обязательно.")))
                .collect(),
        );
    }
    let settings = &state.settings;
    let known =
        field("login") == Some(&settings.username) && field("password") == Some(&settings.password);
    if !known || settings.refuse_logins {
        return invalid(vec![("login", "Неверный логин или пароль.".into())]);
    }
    let lifetime = settings.token_lifetime;
    let token = state.tokens.issue(now, lifetime);
    let end = Timestamp::now()
        .checked_add(lifetime)
        .unwrap_or(Timestamp::MAX);
    let user = json!({ "id": 1, "name": settings.username, "login": settings.username, "user_type": "admin" });
    Answer::json(
        StatusCode::OK,
        &json!({
            "user": user,
            "expires_at": end.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            "token_type": "Bearer",
            "access_token": format!("Bearer {token}"),
        }),
    )
}

fn update(request: &Request, user: &User, state: &mut ServerState) -> Answer {
    // Laravel reads a body as JSON only if the content type says so.
    let is_json = request
        .header(CONTENT_TYPE)
        .is_some_and(|value| value.contains("json"));
    let permissions = request
        .json
        .as_ref()
        .filter(|_| is_json)
        .and_then(|body| body.get("permissions"));
    let Some(permissions) = permissions else {
        return invalid(vec![(
            "permissions",
            "Поле permissions обязательно.".into(),
        )]);
    };
    let Some(list) = permissions.as_array() else {
        return invalid(vec![(
            "permissions",
            "Поле permissions должно быть массивом.".into(),
        )]);
    };
    let mut errors = Vec::new();
    for (at, id) in list.iter().enumerate() {
        let name = format!("permissions.{at}");
        match (id.as_i64(), &state.settings.permissions) {
            (None, _) => errors.push((
                name.clone(),
                format!("Поле {name} должно быть целым числом."),
            )),
            (Some(id), Some(known)) if !known.contains(&id) => {
                errors.push((
                    name.clone(),
                    format!("Выбранное значение для {name} ошибочно."),
                ));
            }
            _ => {}
        }
    }
    if !errors.is_empty() {
        return invalid(errors);
    }
    state
        .users
        .set(user, [("permissions", permissions)].into_iter());
    Answer {
        applied: true,
        ..Answer::text(StatusCode::OK, "application/json", user_object(user, list))
    }
}

/// A validation error in Laravel's shape. The words are not English, as those of a localised
/// installation.
fn invalid<N: Into<String>>(errors: Vec<(N, String)>) -> Answer {
    let more = errors.len().saturating_sub(1);
    let first = errors
        .first()
        .map(|(_, text)| text.clone())
        .unwrap_or_default();
    let message = if more == 0 {
        first
    } else {
        format!("{first} (и ещё ошибок: {more})")
    };
    let errors: Map<String, Value> = errors
        .into_iter()
        .map(|(name, text)| (name.into(), json!([text])))
        .collect();
    Answer::json(
        StatusCode::UNPROCESSABLE_ENTITY,
        &json!({ "message": message, "errors": errors }),
    )
}

/// The user object of a 200 answer: large, as the real one, its secrets recognizable by `canary-`.
fn user_object(user: &User, permissions: &[Value]) -> Bytes {
    // Text and placeholders by turns. Cut once, since this answer is the one that benchmarks wait
    // for.
    static PIECES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let compact: String = include_str!("aipix_user.json")
            .lines()
            .map(str::trim_start)
            .collect();
        let bare = compact
            .replace("\"%USER%\"", "%USER%")
            .replace("\"%PERMISSIONS%\"", "%PERMISSIONS%");
        bare.split('%').map(str::to_owned).collect()
    });
    let user = user.to_string();
    let permissions: Vec<_> = permissions
        .iter()
        .map(|id| {
            let name = format!("permission-{id}");
            json!({ "id": id, "name": name, "display_name": name, "group": "General" })
        })
        .collect();
    let permissions = Value::from(permissions).to_string();
    let pieces = PIECES.iter().map(|piece| match piece.as_str() {
        "USER" => &user,
        "PERMISSIONS" => &permissions,
        _ => piece,
    });
    pieces.map(String::as_str).collect::<String>().into()
}
