//! An exchange: the way of one call through faults and API to its answer.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, LOCATION, RETRY_AFTER};
use serde_json::Value;
use tokio::time::Instant;

use super::api::Purpose;
use super::bomb::gzip_bomb;
use super::faults::{Fault, On, Rule};
use super::message::{Answer, Request};
use super::shared::Shared;
use super::wire::{self, Reply};

/// How much longer than the body a wrong `Content-Length` is, in bytes.
const MISSING: usize = 1000;

/// Answers one call.
pub(super) async fn exchange(shared: &Arc<Shared>, request: &Request) -> Result<Answer, Reply> {
    let visit = Visit::begin(shared, request);
    if !visit.wait.is_zero() {
        tokio::time::sleep(visit.wait).await;
    }
    let substitute = visit.substitute();
    let (fault, applied) = visit
        .rule
        .as_ref()
        .map_or((None, false), |rule| (rule.fault, rule.applied));
    let silent = matches!(fault, Some(Fault::Hang | Fault::Reset | Fault::ResetKept));
    let truth = (applied || !silent && substitute.is_none()).then(|| visit.answer(request));
    match (substitute.or(truth), fault) {
        (_, Some(Fault::Hang)) => std::future::pending().await,
        (None, _) | (_, Some(Fault::Reset | Fault::ResetKept)) => Err(Reply::Reset),
        (Some(answer), fault) => {
            visit.answered(answer.status);
            distorted(answer, fault)
        }
    }
}

/// The answer on its way out, which some faults distort.
fn distorted(answer: Answer, fault: Option<Fault>) -> Result<Answer, Reply> {
    let length = answer.body.len();
    let whole = |length| [&answer.head(Some(length)), &answer.body[..]].concat();
    match fault {
        Some(Fault::HalfClose) => {
            let mut half = whole(length);
            half.truncate(half.len() - length.div_ceil(2));
            Err(Reply::HalfClose(half))
        }
        Some(Fault::WrongLength) => Err(Reply::Last(whole(length + MISSING))),
        Some(Fault::Endless) => {
            let first = [answer.head(None), wire::padded(&answer.body, false)].concat();
            Err(Reply::Endless(first, vec![b'x'; 16 * 1024]))
        }
        Some(Fault::SlowDrip) => Err(Reply::Drip(answer.head(Some(length)), answer.body.to_vec())),
        Some(Fault::Gzip) => {
            let body = wire::gzip(&answer.body).into();
            Ok(Answer { body, ..answer }.with(CONTENT_ENCODING, "gzip"))
        }
        Some(Fault::Oversized) => Ok(Answer {
            body: wire::padded(&answer.body, true).into(),
            ..answer
        }),
        _ => Ok(answer),
    }
}

/// A call in progress. However it ends, also by a client that goes away, the journal learns of it.
struct Visit {
    shared: Arc<Shared>,
    number: u64,
    purpose: Purpose,
    /// How long it waits first.
    wait: Duration,
    /// It is one too many for the rate limit.
    limited: bool,
    /// The fault that it meets.
    rule: Option<Rule>,
    status: Option<StatusCode>,
}

impl Visit {
    fn begin(shared: &Arc<Shared>, request: &Request) -> Self {
        let now = Instant::now();
        let mut guard = shared.lock();
        let core = &mut *guard;
        let purpose = core.api.purpose(&request.parts.method, request.path());
        let settings = &core.state.settings;
        let (latency, rate_limit, size) =
            (settings.latency, settings.rate_limit, settings.journal_size);
        let queued = core.state.queue.wait(settings.servers, latency, now);
        let number = core.journal.arrive(request, &purpose, size);
        let on = match &purpose {
            Purpose::Update(_) => Some(On::Updates),
            Purpose::Login => Some(On::Logins),
            Purpose::Other => None,
        };
        let limited = on == Some(On::Updates) && !core.state.rate_limit.admits(rate_limit, now);
        let rule = on
            .filter(|_| !limited)
            .and_then(|on| core.faults.take(on, purpose.user(), request.number > 0));
        drop(guard);
        shared.changed.notify_waiters();
        let wait = queued
            + rule
                .as_ref()
                .and_then(|rule| rule.delay)
                .unwrap_or_default();
        Visit {
            shared: Arc::clone(shared),
            number,
            purpose,
            wait,
            limited,
            rule,
            status: None,
        }
    }

    /// The answer that replaces the API's own, if one does.
    fn substitute(&self) -> Option<Answer> {
        let api = &self.shared.lock().api;
        if self.limited {
            return Some(
                api.refusal(StatusCode::TOO_MANY_REQUESTS, None)
                    .with(RETRY_AFTER, "1"),
            );
        }
        let rule = self.rule.as_ref()?;
        if let Some(status) = rule.status {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let answer = match &rule.body {
                None => api.refusal(status, self.purpose.user()),
                Some(Value::String(text)) if text.starts_with('<') => {
                    Answer::text(status, "text/html", text.clone())
                }
                Some(Value::String(text)) => Answer::text(status, "application/json", text.clone()),
                Some(json) => Answer::json(status, json),
            };
            return Some(match &rule.retry_after {
                Some(value) => answer.with(RETRY_AFTER, value),
                None => answer,
            });
        }
        match rule.fault? {
            Fault::Html => Some(Answer::page(StatusCode::OK)),
            Fault::NotJson => Some(Answer::text(
                StatusCode::OK,
                "application/json",
                "{\"id\": 1, \"data\": {\"id\"",
            )),
            Fault::Redirect => Some(Answer::page(StatusCode::FOUND).with(LOCATION, "/elsewhere")),
            Fault::GzipBomb => {
                let bomb = Answer::text(StatusCode::OK, "application/json", gzip_bomb());
                Some(bomb.with(CONTENT_ENCODING, "gzip"))
            }
            Fault::Hang | Fault::Reset | Fault::ResetKept => None,
            Fault::Gzip
            | Fault::HalfClose
            | Fault::WrongLength
            | Fault::Oversized
            | Fault::Endless
            | Fault::SlowDrip => None,
        }
    }

    /// The API's true answer, noted in the journal if it changed something.
    fn answer(&self, request: &Request) -> Answer {
        let mut guard = self.shared.lock();
        let core = &mut *guard;
        let answer = if core.state.knows_key_otherwise(request) {
            core.api
                .refusal(StatusCode::UNPROCESSABLE_ENTITY, self.purpose.user())
        } else {
            core.api
                .answer(request, &self.purpose, &mut core.state, Instant::now())
        };
        if answer.applied {
            core.journal.apply(self.number);
            drop(guard);
            self.shared.changed.notify_waiters();
        }
        answer
    }

    /// Over, with this status. What follows on the wire no longer counts as in progress: the client
    /// may have read enough and be back before the server learns of it.
    fn answered(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let status = self.status.map(|status| status.as_u16());
        self.shared
            .lock()
            .journal
            .leave(self.number, &self.purpose, status);
        self.shared.changed.notify_waiters();
    }
}
