//! An API that tells everybody, in every way there is, what it was sent: passwords, card numbers,
//! tokens.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};
use stand_in::scripted::{Reply, Request, Server};

use crate::canary::forms;

/// A request, and how many there were before it of the same path.
struct Asked {
    path: String,
    user: u64,
    body: Value,
    /// Head and body as they came, and every secret in them in every form.
    gossip: String,
    before: usize,
}

/// How many ways [`answer`] knows: users have the numbers from 1 to this.
pub(crate) const WAYS: u64 = 20;

/// Answers each user's first update by the number of the user, as [`answer`] says, and any later
/// one with a success. Logins fail in three ways first, and then give this token. Returns the base
/// URL.
pub(crate) async fn start(api: &'static str, token: &'static str) -> String {
    let counts = Mutex::default();
    let server = Server::start(move |request| {
        let asked = understand(request, &counts);
        if asked.path.contains("/login") || asked.path == "/oauth/token" {
            login(&asked, token)
        } else {
            answer(api, &asked)
        }
    });
    server.await.url.into()
}

fn understand(request: &Request, counts: &Mutex<HashMap<String, usize>>) -> Asked {
    let path = request.path().to_owned();
    let user = path
        .split('/')
        .rev()
        .find_map(|part| part.parse().ok())
        .unwrap_or(0);
    let body = request.json.clone().unwrap_or_default();
    let bearer = request
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    let query = request.query("access_token");
    let client_secret = request.form("client_secret");
    let values = ["password", "card_number"]
        .into_iter()
        .filter_map(|name| body.get(name)?.as_str());
    // What a PATCH of SCIM sets.
    let patched = body["Operations"].as_array().into_iter().flatten();
    let patched = patched.filter_map(|operation| operation["value"].as_str());
    let secrets: Vec<_> = values
        .chain(patched)
        .chain(bearer)
        .chain(query.as_deref())
        .chain(client_secret.as_deref())
        .flat_map(forms)
        .collect();
    let mut counts = counts.lock().unwrap();
    let count = counts.entry(path.clone()).or_default();
    *count += 1;
    let gossip = format!("{} {} {}", request.head(), request.body, secrets.join(" "));
    Asked {
        before: *count - 1,
        path,
        user,
        body,
        gossip,
    }
}

fn reply(status: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Last(format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes())
}

fn login(asked: &Asked, token: &str) -> Reply {
    let gossip = &asked.gossip;
    match asked.before {
        0 => reply("401 No", "", &json!({ "data": gossip }).to_string()),
        1 => reply("500 Oh", "", gossip),
        2 => reply(
            "200 OK",
            "",
            &json!({ "data": { "message": gossip } }).to_string(),
        ),
        _ => reply(
            "200 OK",
            "",
            &json!({
                "data": { "access_token": token },
                "access_token": token, "token_type": "Bearer", "expires_in": 3600,
            })
            .to_string(),
        ),
    }
}

fn answer(api: &str, asked: &Asked) -> Reply {
    let Asked {
        user, gossip, body, ..
    } = asked;
    // In a header and in the status line no line may end.
    let line = gossip.replace(['\r', '\n'], " ");
    let refusal = match api {
        "aipix" => {
            json!({ "message": gossip, "errors": { "permissions.0": [gossip], gossip.as_str(): [gossip, body] } })
        }
        "scim" => json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": "400", "scimType": gossip, "detail": gossip,
        }),
        _ => {
            json!({ "error": { "code": 422, "message": gossip, "errors": { "password": [gossip] } } })
        }
    };
    let (refusal, page) = (
        refusal.to_string(),
        format!("<html><body>{gossip}</body></html>"),
    );
    let success = match api {
        "aipix" => json!({ "id": user, "login": gossip, "password": body }),
        "scim" => json!({ "id": user.to_string(), "userName": gossip, "password": body }),
        _ => json!({ "data": { "id": user, "password": gossip, "sent": body } }),
    };
    let success = reply("200 OK", "", &success.to_string());
    if asked.before > 0 {
        return success;
    }
    match user {
        1 => reply("500 Oh", "", &refusal),
        2 => reply("422 No", "", &refusal),
        3 => reply("400 No", "", &refusal),
        4 => reply("409 No", "", &page),
        5 => reply("404 No", "", &refusal),
        6 => reply("413 No", "", &refusal),
        7 => reply("302 There", &format!("location: /x?{line}\r\n"), &page),
        8 => reply("401 No", &format!("www-authenticate: {line}\r\n"), &refusal),
        9 => reply("403 No", "", &refusal),
        10 => reply("429 Wait", "retry-after: 0\r\n", &refusal),
        11 => reply("503 Wait", &format!("retry-after: {line}\r\n"), &refusal),
        12 => reply("200 OK", "", &page),
        13 => reply(
            "200 OK",
            "",
            &json!({ "error": { "code": 422, "message": gossip } }).to_string(),
        ),
        14 => reply(
            &format!("500 {line}"),
            &format!("x-echo: {line}\r\n"),
            &page,
        ),
        // No HTTP at all; an answer that is cut off; one with a wrong length; none.
        15 => Reply::Last(format!("{gossip}\r\n\r\n").into_bytes()),
        16 => Reply::Last(
            format!("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{refusal}").into_bytes(),
        ),
        17 => Reply::Last(
            format!("HTTP/1.1 200 OK\r\ncontent-length: {line}\r\n\r\n{refusal}").into_bytes(),
        ),
        18 => Reply::Silence,
        19 => reply("200 OK", "", &format!("{{\"data\":{{\"id\":\"{line}\"}}}}")),
        _ => success,
    }
}
