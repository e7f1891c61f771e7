//! The gate: which requests are let through. Reading is free on loopback; everything else needs the
//! token.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;
use tracing::warn;
use uuid::Uuid;

use crate::config::secret_file::Secret;

/// The header in which the page sends the form token back.
pub(super) const FORM_TOKEN: HeaderName = HeaderName::from_static("x-form-token");
/// Number of wrong tokens within [`LOCKED`] after which no token is accepted until that time has
/// passed.
const TRIES: usize = 10;
/// How long wrong tokens are remembered.
const LOCKED: Duration = Duration::from_secs(60);

/// Why a request is not let through: the status, and words that say what to do.
pub(super) struct GateRefusal(pub(super) StatusCode, pub(super) String);

/// The access rules.
pub(super) struct Gate {
    hosts: Vec<String>,
    token: Option<Secret>,
    /// Whether reading needs the token too.
    closed: bool,
    form_token: String,
    /// When wrong tokens came.
    wrong: Mutex<Vec<Instant>>,
}

impl Gate {
    /// A gate that browsers come to by these names, by an address or as `localhost`.
    pub(super) fn new(hosts: Vec<String>, token: Option<Secret>, closed: bool) -> Self {
        // A random UUID has 122 bits that nobody can guess.
        Gate {
            hosts,
            token,
            closed,
            form_token: Uuid::new_v4().simple().to_string(),
            wrong: Mutex::default(),
        }
    }

    /// The token that a page of this process sends with every request for an action. Another site's
    /// page cannot read it.
    pub(super) fn form_token(&self) -> &str {
        &self.form_token
    }

    /// Whether there is a token with which replays can be asked for.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether reading needs the token.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The rules for every request.
    pub(super) fn pass(&self, request: &Parts) -> Result<(), GateRefusal> {
        let host = text(&request.headers, &header::HOST).unwrap_or_default();
        if !self.knows(host) {
            // Otherwise an attacker could point a name at this machine, and browsers would treat
            // the attacker's page as ours.
            let words = "this page is not known by that name: ask for it by its address, or name the host in console.hosts";
            return Err(GateRefusal(
                StatusCode::MISDIRECTED_REQUEST,
                words.to_owned(),
            ));
        }
        if !request.uri.path().starts_with("/api/") {
            return Ok(());
        }
        let foreign = || {
            GateRefusal(
                StatusCode::FORBIDDEN,
                "only the page of this console may ask this".to_owned(),
            )
        };
        let site = text(&request.headers, &HeaderName::from_static("sec-fetch-site"));
        if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return Err(foreign());
        }
        let origin = text(&request.headers, &header::ORIGIN);
        let same = |origin: &str| {
            origin
                .split_once("://")
                .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
        };
        if origin.is_some_and(|origin| !same(origin)) {
            return Err(foreign());
        }
        if request.method == Method::GET {
            return Ok(());
        }
        let form_token = text(&request.headers, &FORM_TOKEN).unwrap_or_default();
        if origin.is_none() {
            let words = "the header Origin is missing, which browsers send: whatever stands between must pass it on";
            return Err(GateRefusal(StatusCode::FORBIDDEN, words.to_owned()));
        }
        if !equal(form_token, &self.form_token) {
            return Err(GateRefusal(
                StatusCode::FORBIDDEN,
                "the page is older than this console: load it again".to_owned(),
            ));
        }
        Ok(())
    }

    /// Whether the request may read.
    pub(super) fn may_read(&self, headers: &HeaderMap) -> Result<(), GateRefusal> {
        if self.closed {
            self.may_replay(headers)
        } else {
            Ok(())
        }
    }

    /// Whether the request has the token. The secret is read afresh, so that a new one counts at
    /// once.
    pub(super) fn may_replay(&self, headers: &HeaderMap) -> Result<(), GateRefusal> {
        let Some(secret) = &self.token else {
            let words =
                "replaying is not enabled here: name a file with a token in console.token_file";
            return Err(GateRefusal(StatusCode::FORBIDDEN, words.to_owned()));
        };
        let given =
            text(headers, &header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let Some(given) = given else {
            return Err(GateRefusal(
                StatusCode::UNAUTHORIZED,
                "this needs the token".to_owned(),
            ));
        };
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.retain(|tried| tried.elapsed() < LOCKED);
        if wrong.len() >= TRIES {
            let words = "too many wrong tokens: wait a minute before you try again";
            return Err(GateRefusal(StatusCode::TOO_MANY_REQUESTS, words.to_owned()));
        }
        let token = secret
            .read()
            .map_err(|error| GateRefusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        if !equal(given.trim(), token.expose_secret().trim()) {
            wrong.push(Instant::now());
            if wrong.len() == TRIES {
                warn!(
                    tries = TRIES,
                    "too many wrong tokens were given: for a minute none is looked at"
                );
            }
            return Err(GateRefusal(
                StatusCode::UNAUTHORIZED,
                "this is not the token".to_owned(),
            ));
        }
        Ok(())
    }

    /// Whether browsers may know this page by that name.
    fn knows(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let address = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name);
        address.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self
                .hosts
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// In a time that tells nothing but whether the lengths are the same.
fn equal(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn asked(gate: &Gate, method: Method, path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        gate.pass(&parts)
            .map_or_else(|GateRefusal(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn only_known_hosts_are_answered() {
        let gate = Gate::new(vec!["courier.example.com".to_owned()], None, false);
        let host = |host: &str| asked(&gate, Method::GET, "/", &[("host", host)]);
        for known in [
            "127.0.0.1:9465",
            "localhost:9465",
            "LOCALHOST",
            "[::1]:9465",
            "10.0.0.7",
            "courier.example.com",
            "Courier.Example.com:8443",
        ] {
            assert_eq!(host(known), 200, "{known}");
        }
        for unknown in [
            "",
            "evil.example.com",
            "evil.example.com:9465",
            "localhost.evil.com",
            "127.0.0.1.evil.com",
            "x@127.0.0.1",
            "127.0.0.1:x",
            "[::1",
            ":9465",
        ] {
            assert_eq!(host(unknown), 421, "{unknown}");
        }
        assert_eq!(asked(&gate, Method::GET, "/", &[]), 421);
    }

    #[test]
    fn other_sites_ask_in_vain() {
        let gate = Gate::new(Vec::new(), None, false);
        let token = gate.form_token().to_owned();
        let host = ("host", "localhost:9465");
        let own = ("origin", "http://localhost:9465");
        let read = |headers: &[(&str, &str)]| {
            asked(&gate, Method::GET, "/api/now", &[&[host], headers].concat())
        };
        assert_eq!(
            [
                read(&[]),
                read(&[own]),
                read(&[("sec-fetch-site", "same-origin")])
            ],
            [200; 3]
        );
        for site in ["cross-site", "same-site"] {
            assert_eq!(read(&[("sec-fetch-site", site)]), 403);
        }
        for origin in [
            "null",
            "http://localhost:9464",
            "http://evil.example.com",
            "https://localhost",
            "localhost:9465",
        ] {
            assert_eq!(read(&[("origin", origin)]), 403, "{origin}");
        }
        let act = |headers: &[(&str, &str)]| {
            asked(
                &gate,
                Method::POST,
                "/api/plan",
                &[&[host], headers].concat(),
            )
        };
        let form = ("x-form-token", token.as_str());
        assert_eq!(act(&[own, form]), 200);
        assert_eq!(
            [
                act(&[own]),
                act(&[form]),
                act(&[own, ("x-form-token", "guessed")]),
                act(&[("origin", "http://evil.example.com"), form])
            ],
            [403; 4]
        );
        let other = Gate::new(Vec::new(), None, false);
        assert_ne!(other.form_token(), gate.form_token());
    }

    #[test]
    fn the_token_is_asked_for_and_guesses_are_few() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "correct-horse-battery\n").unwrap();
        let gate = Gate::new(Vec::new(), Some(Secret::File(file.clone())), false);
        let with = |gate: &Gate, token: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(token) = token {
                headers.insert(
                    header::AUTHORIZATION,
                    format!("Bearer {token}").parse().unwrap(),
                );
            }
            gate.may_replay(&headers)
                .map_or_else(|GateRefusal(status, _)| status.as_u16(), |()| 200)
        };
        assert_eq!(with(&gate, None), 401);
        assert_eq!(with(&gate, Some("correct-horse-battery")), 200);
        std::fs::write(&file, "another-horse-battery\n").unwrap();
        assert_eq!(
            with(&gate, Some("correct-horse-battery")),
            401,
            "a new token counts at once"
        );
        assert!((1..TRIES).all(|_| with(&gate, Some("guess")) == 401));
        assert_eq!(
            with(&gate, Some("another-horse-battery")),
            429,
            "not even the right one is looked at"
        );
        assert_eq!(with(&Gate::new(Vec::new(), None, false), Some("x")), 403);

        let closed = Gate::new(Vec::new(), Some(Secret::File(file)), true);
        assert!(closed.may_read(&HeaderMap::new()).is_err());
        assert!(
            Gate::new(Vec::new(), None, false)
                .may_read(&HeaderMap::new())
                .is_ok()
        );
    }
}
