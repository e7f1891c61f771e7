//! A request and its answer as plain values, so that the APIs need no network.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use url::form_urlencoded;

/// A request that has been read whole.
#[derive(Clone)]
pub struct Request {
    pub(super) parts: Parts,
    /// The body as text.
    pub body: String,
    /// The body, if it is JSON.
    pub json: Option<Value>,
    /// The number of its connection at its server, counted from 0.
    pub connection: u64,
    /// Its number on its connection, counted from 0.
    pub number: u64,
}

impl Request {
    pub(super) fn new(parts: Parts, body: &[u8], [connection, number]: [u64; 2]) -> Self {
        let json = serde_json::from_slice(body).ok();
        Request {
            parts,
            body: String::from_utf8_lossy(body).into_owned(),
            json,
            connection,
            number,
        }
    }

    /// The request line, such as `GET /users?page=2 HTTP/1.1`.
    pub fn line(&self) -> String {
        format!(
            "{} {} {:?}",
            self.parts.method, self.parts.uri, self.parts.version
        )
    }

    /// The request line and the headers, as they may stand in a log of the whole.
    pub fn head(&self) -> String {
        let headers = self.parts.headers.iter();
        let lines = headers
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
        [self.line()]
            .into_iter()
            .chain(lines)
            .collect::<Vec<_>>()
            .join("\r\n")
    }

    /// A header, if it is text.
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// The token in the header, if it carries one.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header(header::AUTHORIZATION)?.strip_prefix("Bearer ")
    }

    /// The path without its query, which may hold a token.
    pub fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// The first query parameter of that name, unescaped.
    pub fn query(&self, name: &str) -> Option<String> {
        parameter(self.parts.uri.query()?.as_bytes(), name)
    }

    /// The first field of that name in a body that is a form, unescaped.
    pub fn form(&self, name: &str) -> Option<String> {
        parameter(self.body.as_bytes(), name)
    }
}

/// A segment of a path, as it is meant.
pub(super) fn unescaped(segment: &str) -> Cow<'_, str> {
    percent_decode_str(segment).decode_utf8_lossy()
}

fn parameter(pairs: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(pairs)
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

impl fmt::Debug for Request {
    /// Leaves out what may be secret: the query, the headers and the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.parts.method)
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The user's state has changed.
    pub(super) applied: bool,
}

impl Answer {
    /// JSON under that status.
    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        Answer::text(status, "application/json", body.to_string())
    }

    /// Any text under that status.
    pub(super) fn text(
        status: StatusCode,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Self {
        let headers =
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Answer {
            status,
            headers,
            body: body.into(),
            applied: false,
        }
    }

    /// The web page of a server that is not the API.
    pub(super) fn page(status: StatusCode) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let page = format!(
            "<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
        );
        Answer::text(status, "text/html; charset=utf-8", page)
    }

    /// The same with one more header; a value that no header may hold is left out.
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The text before its body; without a length the body goes on until the connection ends.
    pub(super) fn head(&self, length: Option<usize>) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {}\r\nconnection: close\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        if let Some(length) = length {
            head.extend(format!("content-length: {length}\r\n").into_bytes());
        }
        head.extend(b"\r\n");
        head
    }
}
