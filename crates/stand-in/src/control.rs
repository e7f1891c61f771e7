//! Control: the stand-in's own pages under `/_stand-in`, JSON both ways. No fault applies to them.

use std::time::Duration;

use hyper::{Method, StatusCode};
use jiff::fmt::serde::unsigned_duration::friendly::compact;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::api::ApiServer;
use super::faults::Rule;
use super::message::{Answer, Request};
use super::settings::Settings;
use super::shared::Shared;
use super::user::User;

/// The path prefix of the control pages.
pub(super) const PREFIX: &str = "/_stand-in";

/// The error for an impossible user.
const NO_ID: &str = "`user` is not an id of this API";

/// Every page, shown to anyone who asks for another one.
const PAGES: [&str; 13] = [
    "GET /_stand-in",
    "GET /_stand-in/faults",
    "POST /_stand-in/faults",
    "DELETE /_stand-in/faults",
    "DELETE /_stand-in/faults/NUMBER",
    "GET /_stand-in/journal?user=USER",
    "DELETE /_stand-in/journal",
    "GET /_stand-in/state?user=USER",
    "GET /_stand-in/settings",
    "PATCH /_stand-in/settings",
    "POST /_stand-in/token/expire",
    "POST /_stand-in/token/accept",
    "POST /_stand-in/port",
];

/// The answer, and for how long the port is to be closed after it.
pub(super) fn answer(shared: &Shared, request: &Request, path: &str) -> (Answer, Option<Duration>) {
    if (&request.parts.method, path) == (&Method::POST, "/port") {
        return match read::<Closing>(request) {
            Ok(Closing { closed_for }) => (ok(&json!({})), Some(closed_for)),
            Err(mistake) => (wrong(&mistake), None),
        };
    }
    let answer = page(shared, request, path).unwrap_or_else(|mistake| wrong(&mistake));
    (answer, None)
}

fn page(shared: &Shared, request: &Request, path: &str) -> Result<Answer, String> {
    let mut core = shared.lock();
    let rules = |rules: &[(u64, Rule)]| -> Value {
        rules
            .iter()
            .map(|(number, rule)| json!({ "number": number, "rule": rule }))
            .collect()
    };
    let answer = match (request.parts.method.as_str(), path) {
        ("GET", "" | "/") => json!({
            "api": core.api.name(),
            "stats": core.journal.stats,
            "faults": rules(core.faults.list()),
            "settings": core.state.settings,
            "pages": PAGES,
        }),
        ("GET", "/faults") => json!({ "faults": rules(core.faults.list()) }),
        ("POST", "/faults") => {
            let rule: Rule = read(request)?;
            let is_id = rule
                .user
                .as_ref()
                .is_none_or(|user| core.api.user(&user.to_string()).is_some());
            rule.mistake()
                .or((!is_id).then_some(NO_ID))
                .map_or(Ok(()), |mistake| Err(mistake.to_owned()))?;
            json!({ "number": core.faults.add(rule) })
        }
        ("DELETE", "/faults") => {
            core.faults.clear();
            json!({})
        }
        ("GET", "/journal") => {
            let wanted = wanted(request, &*core.api)?;
            let calls = core
                .journal
                .calls()
                .filter(|call| wanted.is_none() || call.user == wanted);
            json!({ "stats": core.journal.stats, "calls": calls.collect::<Vec<_>>() })
        }
        ("DELETE", "/journal") => {
            core.journal.clear();
            json!({})
        }
        ("GET", "/state") => {
            let wanted = wanted(request, &*core.api)?;
            let users = core
                .state
                .users
                .all()
                .filter(|(user, _)| wanted.as_ref().is_none_or(|wanted| wanted == *user));
            let users: Map<String, Value> = users
                .map(|(user, fields)| (user.to_string(), Value::Object(fields.clone())))
                .collect();
            json!({ "users": users })
        }
        ("GET", "/settings") => json!(core.state.settings),
        ("PATCH", "/settings") => {
            core.state.settings = patched(&core.state.settings, request)?;
            json!(core.state.settings)
        }
        ("POST", "/token/expire") => {
            core.state.tokens.expire();
            json!({})
        }
        ("POST", "/token/accept") => {
            let Accept { token } = read(request)?;
            core.state.tokens.accept(token);
            json!({})
        }
        ("DELETE", path) if path.starts_with("/faults/") => {
            let number = path
                .trim_start_matches("/faults/")
                .parse()
                .map_err(|_| "a fault has a number")?;
            let removed = core.faults.remove(number);
            return Ok(if removed {
                ok(&json!({}))
            } else {
                unknown("there is no such fault any more")
            });
        }
        _ => return Ok(unknown("there is no such page")),
    };
    Ok(ok(&answer))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Closing {
    #[serde(with = "compact::required")]
    closed_for: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accept {
    token: String,
}

/// The settings with those replaced that the body names.
fn patched(settings: &Settings, request: &Request) -> Result<Settings, String> {
    let changes: Map<String, Value> = read(request)?;
    let mut all = serde_json::to_value(settings).map_err(|error| error.to_string())?;
    // The password is never shown, so it has to be added by hand.
    all["password"] = Value::from(settings.password.clone());
    for (name, value) in changes {
        all[name] = value;
    }
    serde_json::from_value(all).map_err(|error| error.to_string())
}

fn read<T: DeserializeOwned>(request: &Request) -> Result<T, String> {
    let json = request.json.as_ref().ok_or("the body is not JSON")?;
    T::deserialize(json).map_err(|error| error.to_string())
}

/// The user that the page is asked about.
fn wanted(request: &Request, api: &dyn ApiServer) -> Result<Option<User>, String> {
    request
        .query("user")
        .map(|id| api.user(&id).ok_or_else(|| NO_ID.to_owned()))
        .transpose()
}

fn ok(body: &Value) -> Answer {
    Answer::json(StatusCode::OK, body)
}

fn wrong(mistake: &str) -> Answer {
    Answer::json(StatusCode::BAD_REQUEST, &json!({ "error": mistake }))
}

fn unknown(what: &str) -> Answer {
    Answer::json(
        StatusCode::NOT_FOUND,
        &json!({ "error": what, "pages": PAGES }),
    )
}
