//! VALT: its documented answers, and plain guesses in their shape where the vendor's page is silent.

use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::api::Books;
use super::call::{Answer, Purpose, Request};

const LOGIN: &str = "/api/v3/login";
const USERS: &str = "/api/v3/admin/users/";

/// What a call is for.
pub(super) fn purpose(method: &Method, path: &str) -> Purpose {
    let user = || path.strip_prefix(USERS)?.strip_suffix("/edit")?.parse().ok();
    match (method, user()) {
        (&Method::POST, Some(user)) => Purpose::Update(user),
        (&Method::POST, None) if path == LOGIN => Purpose::Login,
        _ => Purpose::Other,
    }
}

/// The answer to a call.
pub(super) fn answer(request: &Request, purpose: Purpose, books: &mut Books, now: Instant) -> Answer {
    match purpose {
        Purpose::Login => login(request, books, now),
        Purpose::Update(_) if !request.query("access_token").is_some_and(|token| books.sessions.knows(token, now)) => {
            refusal(StatusCode::UNAUTHORIZED)
        }
        Purpose::Update(user) if user > 0 && books.settings.users.contains(user) => update(request, user, books),
        Purpose::Update(_) => refusal(StatusCode::NOT_FOUND),
        // A wrong route never reaches the API, so the web server answers, with a page.
        Purpose::Other if request.path() == LOGIN || request.path().starts_with(USERS) && request.path().ends_with("/edit") => {
            Answer::page(StatusCode::METHOD_NOT_ALLOWED)
        }
        Purpose::Other => Answer::page(StatusCode::NOT_FOUND),
    }
}

/// The API's own answer for a status that is not a success.
pub(super) fn refusal(status: StatusCode) -> Answer {
    let code = status.as_u16();
    match code {
        404 => Answer::json(status, &json!({ "error": { "code": code } })),
        401 => error(status, "The access token is missing or not valid"),
        429 => error(status, "Too many requests"),
        _ => error(status, status.canonical_reason().unwrap_or("Error")),
    }
}

fn error(status: StatusCode, message: &str) -> Answer {
    Answer::json(status, &json!({ "error": { "code": status.as_u16(), "message": message } }))
}

fn login(request: &Request, books: &mut Books, now: Instant) -> Answer {
    let field = |name: &str| request.json.as_ref()?.get(name)?.as_str();
    let (Some(username), Some(password)) = (field("username"), field("password")) else {
        return error(StatusCode::BAD_REQUEST, "Give username and password");
    };
    let settings = &books.settings;
    if books.sessions.is_locked(now) {
        return Answer::json(StatusCode::UNAUTHORIZED, &json!({ "data": "Account is locked, try again later" }));
    }
    if username != settings.username || password != settings.password {
        books.sessions.fail(now);
    } else if !settings.refuse_logins {
        let lifetime = settings.token_lifetime;
        let token = books.sessions.issue(now, lifetime);
        return Answer::json(StatusCode::OK, &json!({ "data": { "access_token": token } }));
    }
    Answer::json(StatusCode::UNAUTHORIZED, &json!({ "data": "Invalid username or password" }))
}

fn update(request: &Request, user: u64, books: &mut Books) -> Answer {
    let Some(Value::Object(body)) = &request.json else {
        return error(StatusCode::BAD_REQUEST, "The body is not a JSON object");
    };
    if let Some(name) = body.iter().find(|(name, value)| !takes(name, value)).map(|(name, _)| name) {
        return error(StatusCode::BAD_REQUEST, &format!("The value of {name} has a wrong type"));
    }
    let text = |name| body.get(name).and_then(Value::as_str);
    if books.settings.password_history && text("password").is_some_and(|new| books.directory.had_password(user, new)) {
        return error(StatusCode::BAD_REQUEST, "The password was used before, choose another one");
    }
    if books.settings.unique_names && text("name").is_some_and(|name| books.directory.name_is_taken(user, name)) {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "The user name already exists");
    }
    let known = body.iter().map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| FIELDS.contains(name));
    books.directory.set(user, known);
    Answer { applied: true, ..Answer::json(StatusCode::OK, &json!({ "data": { "id": user } })) }
}

const FIELDS: [&str; 7] = ["name", "password", "display_name", "user_group", "card_number", "rooms", "video_access"];

/// Whether a field takes this value. An unknown field takes anything, since it is ignored.
fn takes(name: &str, value: &Value) -> bool {
    let integers = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_i64));
    let access = |access: &Map<String, Value>| {
        access.iter().all(|(name, value)| !["users", "user_groups"].contains(&name.as_str()) || integers(value))
    };
    match name {
        "name" | "password" | "display_name" | "card_number" => value.is_string(),
        "user_group" => value.is_i64(),
        "rooms" => integers(value),
        "video_access" => value.as_object().is_some_and(access),
        _ => true,
    }
}
