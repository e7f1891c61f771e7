//! VALT: its documented answers, and plain guesses in their shape if the vendor's page is silent.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{ApiServer, Purpose};
use crate::message::{Answer, Request, unescaped};
use crate::state::ServerState;
use crate::user::User;

const LOGIN: &str = "/api/v3/login";
const USERS: &str = "/api/v3/admin/users/";

/// A VALT server.
#[derive(Default)]
pub(super) struct ValtServer {
    lock: Lock,
    passwords: Passwords,
}

impl ApiServer for ValtServer {
    fn name(&self) -> &'static str {
        "valt"
    }

    fn user(&self, id: &str) -> Option<User> {
        id.parse().ok().map(User::Number)
    }

    fn purpose(&self, method: &Method, path: &str) -> Purpose {
        let user = || self.user(&unescaped(path.strip_prefix(USERS)?.strip_suffix("/edit")?));
        match (method, user()) {
            (&Method::POST, Some(user)) => Purpose::Update(user),
            (&Method::POST, None) if path == LOGIN => Purpose::Login,
            _ => Purpose::Other,
        }
    }

    fn answer(
        &mut self,
        request: &Request,
        purpose: &Purpose,
        state: &mut ServerState,
        now: Instant,
    ) -> Answer {
        let is_known = || {
            request
                .query("access_token")
                .is_some_and(|token| state.tokens.knows(&token, now))
        };
        match purpose {
            Purpose::Login => self.login(request, state, now),
            Purpose::Update(_) if !is_known() => self.refusal(StatusCode::UNAUTHORIZED, None),
            Purpose::Update(user) if state.settings.users.contains(user) => {
                self.update(request, user, state)
            }
            Purpose::Update(_) => self.refusal(StatusCode::NOT_FOUND, None),
            // A wrong route never reaches the API, so the web server answers, with a page.
            Purpose::Other
                if request.path() == LOGIN
                    || request.path().starts_with(USERS) && request.path().ends_with("/edit") =>
            {
                Answer::page(StatusCode::METHOD_NOT_ALLOWED)
            }
            Purpose::Other => Answer::page(StatusCode::NOT_FOUND),
        }
    }

    fn refusal(&self, status: StatusCode, _: Option<&User>) -> Answer {
        let code = status.as_u16();
        match code {
            404 => Answer::json(status, &json!({ "error": { "code": code } })),
            401 => error(status, "The access token is missing or not valid"),
            429 => error(status, "Too many requests"),
            _ => error(status, status.canonical_reason().unwrap_or("Error")),
        }
    }
}

impl ValtServer {
    fn login(&mut self, request: &Request, state: &mut ServerState, now: Instant) -> Answer {
        let field = |name: &str| request.json.as_ref()?.get(name)?.as_str();
        let (Some(username), Some(password)) = (field("username"), field("password")) else {
            return error(StatusCode::BAD_REQUEST, "Give username and password");
        };
        let settings = &state.settings;
        if self.lock.is_closed(now) {
            return Answer::json(
                StatusCode::UNAUTHORIZED,
                &json!({ "data": "Account is locked, try again later" }),
            );
        }
        if username != settings.username || password != settings.password {
            self.lock.fail(now);
        } else if !settings.refuse_logins {
            self.lock.succeed();
            let token = state.tokens.issue(now, settings.token_lifetime);
            return Answer::json(
                StatusCode::OK,
                &json!({ "data": { "access_token": token } }),
            );
        }
        Answer::json(
            StatusCode::UNAUTHORIZED,
            &json!({ "data": "Invalid username or password" }),
        )
    }

    fn update(&mut self, request: &Request, user: &User, state: &mut ServerState) -> Answer {
        let Some(Value::Object(body)) = &request.json else {
            return error(StatusCode::BAD_REQUEST, "The body is not a JSON object");
        };
        if let Some(name) = body
            .iter()
            .find(|(name, value)| !takes(name, value))
            .map(|(name, _)| name)
        {
            return error(
                StatusCode::BAD_REQUEST,
                &format!("The value of {name} has a wrong type"),
            );
        }
        let text = |name| body.get(name).and_then(Value::as_str);
        let has_name = |fields: &Map<String, Value>, name| {
            fields.get("name").and_then(Value::as_str) == Some(name)
        };
        let is_taken = |name| {
            state
                .users
                .all()
                .any(|(other, fields)| other != user && has_name(fields, name))
        };
        if state.settings.password_history
            && text("password").is_some_and(|new| self.passwords.hold(user, new))
        {
            return error(
                StatusCode::BAD_REQUEST,
                "The password was used before, choose another one",
            );
        }
        if state.settings.unique_names && text("name").is_some_and(is_taken) {
            return error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The user name already exists",
            );
        }
        if let Some(password) = text("password") {
            self.passwords.add(user, password);
        }
        let known = body
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .filter(|(name, _)| FIELDS.contains(name));
        state.users.set(user, known);
        Answer {
            applied: true,
            ..Answer::json(StatusCode::OK, &json!({ "data": { "id": user } }))
        }
    }
}

fn error(status: StatusCode, message: &str) -> Answer {
    Answer::json(
        status,
        &json!({ "error": { "code": status.as_u16(), "message": message } }),
    )
}

const FIELDS: [&str; 7] = [
    "name",
    "password",
    "display_name",
    "user_group",
    "card_number",
    "rooms",
    "video_access",
];

/// Whether a field takes this value. An unknown field takes anything, since it is ignored.
fn takes(name: &str, value: &Value) -> bool {
    let integers = |value: &Value| {
        value
            .as_array()
            .is_some_and(|list| list.iter().all(Value::is_i64))
    };
    let access = |access: &Map<String, Value>| {
        access.iter().all(|(name, value)| {
            !["users", "user_groups"].contains(&name.as_str()) || integers(value)
        })
    };
    match name {
        "name" | "password" | "display_name" | "card_number" => value.is_string(),
        "user_group" => value.is_i64(),
        "rooms" => integers(value),
        "video_access" => value.as_object().is_some_and(access),
        _ => true,
    }
}

/// The wrong passwords in a row after which the account is locked.
const FAILURES_ALLOWED: u32 = 10;
/// For how long.
const LOCKED_FOR: Duration = Duration::from_secs(180);

/// The account's lock.
#[derive(Default)]
struct Lock {
    failures: u32,
    closed_until: Option<Instant>,
}

impl Lock {
    /// Notes a wrong password, which may lock the account.
    fn fail(&mut self, now: Instant) {
        self.failures += 1;
        if self.failures >= FAILURES_ALLOWED {
            self.failures = 0;
            self.closed_until = now.checked_add(LOCKED_FOR);
        }
    }

    /// Notes a right password.
    fn succeed(&mut self) {
        self.failures = 0;
    }

    fn is_closed(&self, now: Instant) -> bool {
        self.closed_until.is_some_and(|end| now < end)
    }
}

/// The passwords that the history remembers of a user.
const PASSWORDS_REMEMBERED: usize = 3;

/// The latest passwords of each user.
#[derive(Default)]
struct Passwords(HashMap<User, VecDeque<String>>);

impl Passwords {
    fn add(&mut self, user: &User, password: &str) {
        let passwords = self.0.entry(user.clone()).or_default();
        passwords.push_back(password.to_owned());
        if passwords.len() > PASSWORDS_REMEMBERED {
            passwords.pop_front();
        }
    }

    fn hold(&self, user: &User, password: &str) -> bool {
        self.0
            .get(user)
            .is_some_and(|passwords| passwords.iter().any(|old| old == password))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_in_a_row_lock_the_account_for_three_minutes() {
        let start = Instant::now();
        let mut lock = Lock::default();
        (0..9).for_each(|_| lock.fail(start));
        lock.succeed();
        (0..9).for_each(|_| lock.fail(start));
        assert!(!lock.is_closed(start));
        lock.fail(start);
        assert!(lock.is_closed(start) && lock.is_closed(start + Duration::from_secs(179)));
        assert!(!lock.is_closed(start + LOCKED_FOR));
    }

    #[test]
    fn three_passwords_are_remembered() {
        let mut passwords = Passwords::default();
        ["a", "b", "c", "d"]
            .iter()
            .for_each(|password| passwords.add(&User::Number(1), password));
        let held = |user, password| passwords.hold(&User::Number(user), password);
        assert!(!held(1, "a") && held(1, "b") && held(1, "d"));
        assert!(!held(2, "d"));
    }
}
