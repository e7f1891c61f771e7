//! Which API a stand-in plays, and the books it keeps for it.

use std::collections::HashMap;

use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use super::call::{Answer, Purpose, Request};
use super::settings::Settings;
use super::state::{Directory, Sessions};
use super::{aipix, valt};

/// The API that a stand-in plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// aipix VMS.
    Aipix,
    /// VALT.
    Valt,
}

/// What an answer depends on, apart from the call.
#[derive(Default)]
pub(super) struct Books {
    pub(super) settings: Settings,
    pub(super) directory: Directory,
    pub(super) sessions: Sessions,
    /// The body of each `Idempotency-Key`.
    keys: HashMap<String, Value>,
}

impl Books {
    /// Whether that call's `Idempotency-Key` came with another body before.
    fn knows_key_otherwise(&mut self, request: &Request) -> bool {
        let key = request.header("idempotency-key").filter(|_| self.settings.idempotency_keys);
        let Some((key, body)) = key.zip(request.json.as_ref()) else { return false };
        self.keys.entry(key.to_owned()).or_insert_with(|| body.clone()) != body
    }
}

impl Kind {
    /// What a call is for.
    pub(super) fn purpose(self, method: &Method, path: &str) -> Purpose {
        match self {
            Kind::Aipix => aipix::purpose(method, path),
            Kind::Valt => valt::purpose(method, path),
        }
    }

    /// The true answer to a call, which changes the books.
    pub(super) fn answer(self, request: &Request, purpose: Purpose, books: &mut Books) -> Answer {
        if books.knows_key_otherwise(request) {
            return self.refusal(StatusCode::UNPROCESSABLE_ENTITY, purpose.user());
        }
        match self {
            Kind::Aipix => aipix::answer(request, purpose, books, Instant::now()),
            Kind::Valt => valt::answer(request, purpose, books, Instant::now()),
        }
    }

    /// How the API words a status that is not a success.
    pub(super) fn refusal(self, status: StatusCode, user: Option<u64>) -> Answer {
        match self {
            Kind::Aipix => aipix::refusal(status, user),
            Kind::Valt => valt::refusal(status),
        }
    }
}
