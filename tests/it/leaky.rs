//! An API that tells everybody, in every way there is, what it was sent: passwords, card numbers, tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use stand_in::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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

/// Answers each user's first update by the number of the user, as [`answer`] says, and any later one with a success. Logins fail in three ways first.
pub(crate) struct Leaky {
    pub(crate) base_url: String,
}

/// How many ways [`answer`] knows: users have the numbers from 1 to this.
pub(crate) const WAYS: u64 = 20;

impl Leaky {
    /// `token` is what a login is answered with.
    pub(crate) async fn start(kind: Kind, token: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let counts: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, kind, token, counts.clone()));
            }
        });
        Leaky { base_url }
    }
}

async fn serve(mut stream: TcpStream, kind: Kind, token: &'static str, counts: Arc<Mutex<HashMap<String, usize>>>) {
    let Some((head, body)) = read(&mut stream).await else { return };
    let asked = understand(&head, &body, &counts);
    let reply = if asked.path.contains("/login") { login(&asked, token) } else { answer(kind, &asked) };
    match reply {
        Some(bytes) => drop(stream.write_all(&bytes).await),
        // Nothing, for as long as the client waits.
        None => drop(stream.read(&mut [0]).await),
    }
}

/// A request: what stands before its body, and the body.
async fn read(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn understand(head: &str, body: &str, counts: &Mutex<HashMap<String, usize>>) -> Asked {
    let target = head.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let user = path.split('/').rev().find_map(|part| part.parse().ok()).unwrap_or(0);
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let bearer = head.lines().find_map(|line| line.split_once("Bearer ")).map(|(_, token)| token);
    let query = target.split_once("access_token=").map(|(_, rest)| rest.split(['&', ' ']).next().unwrap_or_default());
    let query = query.map(|token| format!("x={token}")).unwrap_or_default();
    let query = url::form_urlencoded::parse(query.as_bytes()).next().map(|(_, token)| token.into_owned());
    let values = ["password", "card_number"].into_iter().filter_map(|name| body.get(name)?.as_str());
    let secrets: Vec<_> = values.chain(bearer).chain(query.as_deref()).flat_map(forms).collect();
    let mut counts = counts.lock().unwrap();
    let count = counts.entry(path.clone()).or_default();
    *count += 1;
    let gossip = format!("{head} {body} {}", secrets.join(" "));
    Asked { before: *count - 1, path, user, body, gossip }
}

fn reply(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn login(asked: &Asked, token: &str) -> Option<Vec<u8>> {
    let gossip = &asked.gossip;
    Some(match asked.before {
        0 => reply("401 No", "", &json!({ "data": gossip }).to_string()),
        1 => reply("500 Oh", "", gossip),
        2 => reply("200 OK", "", &json!({ "data": { "message": gossip } }).to_string()),
        _ => reply("200 OK", "", &json!({ "data": { "access_token": token } }).to_string()),
    })
}

fn answer(kind: Kind, asked: &Asked) -> Option<Vec<u8>> {
    let Asked { user, gossip, body, .. } = asked;
    // In a header and in the status line no line may end.
    let line = gossip.replace(['\r', '\n'], " ");
    let refusal = match kind {
        Kind::Aipix => json!({ "message": gossip, "errors": { "permissions.0": [gossip], gossip.as_str(): [gossip, body] } }),
        Kind::Valt => json!({ "error": { "code": 422, "message": gossip, "errors": { "password": [gossip] } } }),
    };
    let (refusal, page) = (refusal.to_string(), format!("<html><body>{gossip}</body></html>"));
    let success = match kind {
        Kind::Aipix => json!({ "id": user, "login": gossip, "password": body }),
        Kind::Valt => json!({ "data": { "id": user, "password": gossip, "sent": body } }),
    };
    let success = reply("200 OK", "", &success.to_string());
    if asked.before > 0 {
        return Some(success);
    }
    Some(match user {
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
        13 => reply("200 OK", "", &json!({ "error": { "code": 422, "message": gossip } }).to_string()),
        14 => reply(&format!("500 {line}"), &format!("x-echo: {line}\r\n"), &page),
        // No HTTP at all; an answer that is cut off; one with a wrong length; none.
        15 => format!("{gossip}\r\n\r\n").into_bytes(),
        16 => format!("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{refusal}").into_bytes(),
        17 => format!("HTTP/1.1 200 OK\r\ncontent-length: {line}\r\n\r\n{refusal}").into_bytes(),
        18 => return None,
        19 => reply("200 OK", "", &format!("{{\"data\":{{\"id\":\"{line}\"}}}}")),
        _ => success,
    })
}
