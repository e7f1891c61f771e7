//! A call and its answer as plain values, so that the APIs need no network.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use serde_json::Value;

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It updates this user.
    Update(u64),
    /// It logs in.
    Login,
    /// The API has no such route.
    Other,
}

impl Purpose {
    /// The user it is about.
    pub(super) fn user(self) -> Option<u64> {
        match self {
            Purpose::Update(user) => Some(user),
            Purpose::Login | Purpose::Other => None,
        }
    }
}

/// A call that has been read whole.
pub(super) struct Request {
    pub(super) parts: Parts,
    /// The body, where it is JSON.
    pub(super) json: Option<Value>,
}

impl Request {
    /// A header, where it is text.
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// The path without its query, which may hold a token.
    pub(super) fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// The first query parameter of that name, as it stands in the URL.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let pairs = self.parts.uri.query()?.split('&');
        pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
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
    pub(super) fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Answer { status, headers, body: body.into(), applied: false }
    }

    /// The web page of a server that is not the API.
    pub(super) fn page(status: StatusCode) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let page = format!("<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n");
        Answer::text(status, "text/html; charset=utf-8", page)
    }

    /// The same with one more header; a value that no header may hold is left out.
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}
